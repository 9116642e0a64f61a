import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { usePage } from "./context";
import { SessionGate } from "./session";

const TOKEN = "correct-horse";
let mode: "token" | "none" | "down";
let refuse = false;

function Inside() {
  const { session, signOut, feed } = usePage();
  return (
    <div>
      <p>inside, {session.mode}</p>
      <button onClick={() => void feed.client.stats().catch(() => undefined)}>ask</button>
      {signOut && <button onClick={signOut}>sign out</button>}
    </div>
  );
}

beforeEach(() => {
  sessionStorage.clear();
  mode = "token";
  refuse = false;
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
    if (mode === "down") return Promise.resolve(new Response("<html>", { status: 400 }));
    const sent = (init.headers as Record<string, string>).Authorization;
    const authenticated = mode === "none" || (sent === `Bearer ${TOKEN}` && !refuse);
    if (path === "/api/session") {
      const body = {
        authentication: mode,
        authenticated,
        mode: mode === "none" ? "demo" : "serve",
        version: "1",
      };
      return Promise.resolve(new Response(JSON.stringify(body)));
    }
    return Promise.resolve(new Response("{}", { status: authenticated ? 200 : 401 }));
  });
});

const show = () =>
  render(
    <SessionGate>
      <Inside />
    </SessionGate>,
  );

describe("SessionGate", () => {
  it("asks for nothing where nothing is needed", async () => {
    mode = "none";
    show();
    expect(await screen.findByText("inside, demo")).toBeTruthy();
    expect(screen.queryByText("sign out")).toBeNull();
  });

  it("asks for a token, says when it is wrong, and keeps the right one for the tab", async () => {
    show();
    const box = await screen.findByLabelText("Access token");
    await userEvent.type(box, "wrong{Enter}");
    expect((await screen.findByRole("alert")).textContent).toContain("did not accept");
    expect(sessionStorage.length).toBe(0);
    await userEvent.clear(box);
    await userEvent.type(box, `${TOKEN}{Enter}`);
    expect(await screen.findByText("inside, serve")).toBeTruthy();
    expect(sessionStorage.getItem("dispatchai.token")).toBe(TOKEN);
  });

  it("asks again when the token is no longer accepted, and forgets it", async () => {
    sessionStorage.setItem("dispatchai.token", TOKEN);
    show();
    await screen.findByText("inside, serve");
    refuse = true;
    await userEvent.click(screen.getByText("ask"));
    expect(await screen.findByLabelText("Access token")).toBeTruthy();
    expect(screen.getByRole("alert").textContent).toContain("no longer accepted");
    expect(sessionStorage.length).toBe(0);
  });

  it("forgets the token on signing out", async () => {
    sessionStorage.setItem("dispatchai.token", TOKEN);
    show();
    await userEvent.click(await screen.findByText("sign out"));
    expect(await screen.findByLabelText("Access token")).toBeTruthy();
    expect(screen.queryByRole("alert")).toBeNull();
    expect(sessionStorage.length).toBe(0);
  });

  it("says that the server does not answer", async () => {
    mode = "down";
    show();
    expect(await screen.findByText("The server does not answer", {}, { timeout: 8000 })).toBeTruthy();
  }, 10_000);
});
