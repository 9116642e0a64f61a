import { render, screen, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { decodeConfiguration } from "../api/configuration";
import { worstFirst } from "../system/repositories";
import { ConfigurationReport } from "./configuration-report";

const wire = {
  repository: { id: 7, full_name: "acme/widgets", private: true },
  state: "faulty",
  access: "contents",
  configuration: {
    mode: "apply",
    modes: { priority: "suggest" },
    classifiers: [{ name: "rules" }, { name: "openai", fields: ["category"] }],
    thresholds: { category: 0.6 },
    labels: { map: { category: { bug: ["defect", "bug"], question: [] } }, never: ["sec*"], limit: 3 },
    issue_types: { set: true },
    rules: [{ name: "crashes", set: {} }],
    skip: { authors: ["*[bot]"] },
    needs_info: { ask: false },
    retriage: { edit: true, reopen: false },
    commands: true,
    checks: false,
  },
  sources: [
    {
      name: "acme/widgets/.github/dispatchai.yml",
      blob: "b",
      commit: "0123456789abcdef0123456789abcdef01234567",
    },
  ],
  in_force_since: new Date().toISOString(),
  checked_at: new Date().toISOString(),
  faults: [
    {
      file: "acme/widgets/.github/dispatchai.yml",
      line: 3,
      column: 10,
      path: "labels.limit",
      message: "99 is more than 20",
    },
    { message: "<img src=x onerror=alert(1)>" },
  ],
  label_faults: [{ path: "labels.map.category.bug", message: 'the repository has no label "defect"' }],
  notes: ["w.yml cannot be read"],
  reacting: ["deploy*"],
  issue_types: ["Bug"],
  check: null,
};

describe("decodeConfiguration", () => {
  it("reads what the gateway writes", () => {
    const c = decodeConfiguration(wire);
    expect(c.repository).toEqual({ id: 7, fullName: "acme/widgets", private: true });
    expect(c.settings).toMatchObject({
      mode: "apply",
      limit: 3,
      setsTypes: true,
      rules: ["crashes"],
      retriage: ["edit"],
    });
    expect(c.settings.mapped).toEqual([
      { field: "category", value: "bug", labels: ["defect", "bug"] },
      { field: "category", value: "question", labels: [] },
    ]);
  });

  it("makes the best of anything else", () => {
    for (const raw of [
      null,
      [],
      "x",
      { configuration: { labels: [], rules: {}, modes: 7 }, faults: [{}, null], state: "new" },
    ]) {
      const c = decodeConfiguration(raw);
      expect(c.state).toBe("unread");
      expect(c.faults).toEqual([]);
      expect(c.settings.rules).toEqual([]);
    }
  });
});

describe("the report", () => {
  it("shows the faults with their places, as text", () => {
    render(<ConfigurationReport configuration={decodeConfiguration(wire)} />);
    expect(screen.getByTestId("configuration-state").textContent).toBe("faulty");
    const [first, second] = within(screen.getByRole("region", { name: "Faults" })).getAllByTestId("fault");
    expect(first?.textContent).toContain("line 3, column 10");
    expect(first?.textContent).toContain("99 is more than 20");
    expect(second?.textContent).toBe("<img src=x onerror=alert(1)>");
    expect(second?.querySelector("img")).toBeNull();
    expect(screen.getByRole("region", { name: "Labels that do not fit" }).textContent).toContain("no label");
  });

  it("shows what is in force and where it comes from", () => {
    render(<ConfigurationReport configuration={decodeConfiguration(wire)} />);
    const standing = screen.getByRole("region", { name: "Configuration" });
    expect(standing.textContent).toContain("acme/widgets/.github/dispatchai.yml");
    expect(standing.textContent).toContain("0123456");
    const inForce = screen.getByRole("region", { name: "What is in force" });
    for (const shown of [
      "priority: suggest",
      "openai (category)",
      "category: 60%",
      "category bug → defect, bug",
      "category question → none",
      "sec*",
      "at most 3",
      "crashes",
      "*[bot]",
      "Bug",
    ]) {
      expect(within(inForce).getByText(shown)).toBeTruthy();
    }
    expect(screen.getByRole("region", { name: "Workflows" }).textContent).toContain("deploy*");
  });

  it("says so when nothing was read, or nothing is right", () => {
    const { rerender } = render(
      <ConfigurationReport configuration={decodeConfiguration({ state: "unread" })} />,
    );
    expect(screen.getByText(/before the repository's files were read/)).toBeTruthy();
    rerender(
      <ConfigurationReport
        configuration={decodeConfiguration({ ...wire, state: "guarded", error: "no answer" })}
      />,
    );
    expect(screen.getByText(/Nothing is written on GitHub until/)).toBeTruthy();
    expect(screen.getByRole("status").textContent).toContain("no answer");
  });
});

describe("the list of repositories", () => {
  it("puts faulty ones first and keeps the order otherwise", () => {
    const repository = (fullName: string, configurationFaults: number) => ({
      id: 1,
      fullName,
      private: false,
      labels: [],
      options: {},
      configurationFaults,
    });
    const sorted = worstFirst([
      repository("a", 0),
      repository("b", 1),
      repository("c", 0),
      repository("d", 5),
    ]);
    expect(sorted.map((r) => r.fullName)).toEqual(["b", "d", "a", "c"]);
  });
});
