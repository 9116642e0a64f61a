import { render, screen, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { decodeGaps } from "../api/gaps";
import { decodeSystem, type System } from "../api/system";
import { GapReport } from "./gaps";
import { summarizeLag, summarizePlugins } from "./summary";
import { SystemReport } from "./system-page";

const at = new Date(Date.now() - 5_000).toISOString();
const earlier = new Date(Date.now() - 9_000).toISOString();

const wire = {
  server_time: at,
  processes: [
    {
      name: "web-1/7/1",
      host: "web-1",
      pid: 7,
      roles: ["ingress", "classify"],
      version: "1.2.3",
      started_at: at,
      reported_at: at,
      groups: [
        { group: "label", lag: 0, lost: 0 },
        { group: "classify", lag: 12_345, lost: 2 },
      ],
      plugins: [
        { name: "rules", version: "1", state: "running", since: at, restarts: 0, last_error: "" },
        {
          name: "mine",
          version: "",
          state: "restarting",
          since: at,
          restarts: 4,
          last_error: "exit status 3",
          revision: 2,
          revision_error: "it does not start",
        },
      ],
    },
    {
      name: "web-2/8/1",
      host: "web-2",
      pid: 8,
      roles: ["classify"],
      version: "1.2.4",
      started_at: at,
      reported_at: earlier,
      groups: [{ group: "classify", lag: 99, lost: 0 }],
      plugins: [{ name: "mine", version: "2", state: "running", since: at, restarts: 1, last_error: "" }],
    },
  ],
  plugins: [
    { name: "mine", enabled: true, by: "", at: null },
    { name: "old", enabled: false, by: "maia@desk", at },
    { name: "rules", enabled: true, by: "tom@desk", at },
  ],
};

describe("decodeSystem", () => {
  it("reads what the gateway writes", () => {
    const system = decodeSystem(wire);
    expect(system.processes).toHaveLength(2);
    expect(system.processes[0]).toMatchObject({ host: "web-1", pid: 7, roles: ["ingress", "classify"] });
    expect(system.processes[0]?.plugins[1]).toMatchObject({ restarts: 4, lastError: "exit status 3" });
    expect(system.plugins[0]).toEqual({ name: "mine", enabled: true, by: "", at: "" });
  });

  it("makes the best of anything else", () => {
    const empty: System = { serverTime: "", processes: [], plugins: [] };
    expect(decodeSystem(null)).toEqual(empty);
    expect(decodeSystem({ processes: [null, {}, "x"], plugins: {} })).toEqual(empty);
    const odd = decodeSystem({
      processes: [{ name: "p", roles: [1, "a"], groups: [{}], plugins: [{ lag: 1 }] }],
    });
    expect(odd.processes[0]).toMatchObject({ pid: 0, roles: ["a"], groups: [], plugins: [] });
  });
});

describe("summaries", () => {
  it("shows a plugin as it fares worst", () => {
    const plugins = summarizePlugins(decodeSystem(wire));
    expect(plugins.map((p) => [p.name, p.state, p.running, p.processes, p.restarts])).toEqual([
      ["mine", "restarting", 1, 2, 5],
      ["old", "disabled", 0, 0, 0],
      ["rules", "running", 1, 1, 0],
    ]);
  });

  it("takes the newest report of a group's lag", () => {
    expect(summarizeLag(decodeSystem(wire).processes)).toEqual([
      { group: "classify", lag: 12_345, lost: 2 },
      { group: "label", lag: 0, lost: 0 },
    ]);
  });
});

describe("the page", () => {
  it("shows plugins, what waits, and processes", () => {
    render(<SystemReport system={decodeSystem(wire)} />);
    const [mine, old] = screen.getAllByTestId("system-plugin");
    expect(mine?.textContent).toContain("in 1 of 2 processes, 5 restarts");
    expect(mine?.textContent).toContain("Last error: exit status 3");
    expect(mine?.textContent).toContain("its last revision does not: it does not start");
    expect(old?.textContent).toContain("by maia@desk");
    expect(old?.textContent).toContain("dispatchai plugin enable old");
    const waiting = within(screen.getByRole("region", { name: "Waiting" }));
    expect(waiting.getByText("Events to classify")).toBeTruthy();
    expect(waiting.getByText("12.3K")).toBeTruthy();
    expect(waiting.getByText("2 lost")).toBeTruthy();
    expect(screen.getAllByTestId("system-process")).toHaveLength(2);
    expect(screen.queryByRole("status")).toBeNull();
  });

  it("says so when nothing classifies", () => {
    const off = structuredClone(wire);
    for (const plugin of off.plugins) plugin.enabled = false;
    render(<SystemReport system={decodeSystem(off)} />);
    expect(screen.getByRole("status").textContent).toContain("No plugin is enabled");
  });

  it("says so when nobody has reported", () => {
    render(<SystemReport system={decodeSystem({})} />);
    expect(screen.getByText("No process has reported a plugin yet.")).toBeTruthy();
    expect(screen.getByText("No process has reported itself within a minute.")).toBeTruthy();
  });
});

describe("gaps", () => {
  const proof = {
    gapless: true,
    summary: "No gaps in the last 3 days: GitHub made 5,012 deliveries.",
    swept_at: at,
    deliveries: {
      made: 5012,
      held: 5012,
      waiting: 0,
      failed: 40,
      missing: 0,
      redelivered: 41,
      healed: 39,
      given_up: 1,
      covered: 1,
    },
    repositories: [
      {
        id: 1,
        full_name: "acme/widgets",
        reconciled_at: at,
        missing: 2,
        changed: 3,
        error: "",
        backfill: { status: "running", total: 200, listed: 50 },
      },
      {
        id: 2,
        full_name: "acme/gears",
        reconciled_at: null,
        missing: 0,
        changed: 0,
        error: "gone",
        backfill: null,
      },
      {},
    ],
  };

  it("shows the proof and each repository", () => {
    render(<GapReport gaps={decodeGaps(proof)} />);
    expect(screen.getByRole("status").textContent).toContain("No gaps in the last 3 days");
    expect(screen.getByTestId("system-gaps").dataset.gapless).toBe("true");
    const [widgets, gears, none] = screen.getAllByTestId("system-repository");
    expect(widgets?.textContent).toContain("backfill running 25 %");
    expect(widgets?.textContent).toContain("2 missing and 3 changed issues found in all");
    expect(gears?.textContent).toContain("not compared with GitHub yet");
    expect(gears?.textContent).toContain("Last error: gone");
    expect(none).toBeUndefined();
    expect(screen.getByText("39 healed")).toBeTruthy();
    expect(screen.getByText("1 made good")).toBeTruthy();
  });

  it("makes the best of anything else", () => {
    render(<GapReport gaps={decodeGaps(null)} />);
    expect(screen.getByTestId("system-gaps").dataset.gapless).toBe("false");
    expect(screen.getByText("Nothing is known of gaps yet.")).toBeTruthy();
  });
});
