import { render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { Body } from "./body";

describe("Body", () => {
  it("says that there is none", () => {
    render(<Body markdown={" \n"} />);
    expect(screen.getByText("No description was given.")).toBeTruthy();
  });

  it("renders Markdown", async () => {
    render(<Body markdown="It **crashes**." />);
    expect((await screen.findByText("crashes", {}, { timeout: 5000 })).tagName).toBe("STRONG");
  });

  it("shows what no renderer survives as it is written", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const text = "> ".repeat(9_000);
    const { container } = render(<Body markdown={`${text}x`} />);
    await waitFor(() => expect(container.querySelector("pre.plain")?.textContent).toContain("> > x"), {
      timeout: 15_000,
    });
  }, 20_000);

  it("shows the beginning of a very long text, and the rest on demand", async () => {
    const { container } = render(<Body markdown={`${"word ".repeat(5_000)}the-end`} />);
    const more = await screen.findByRole("button", { name: /remaining 6 thousand/ }, { timeout: 5000 });
    expect(container.textContent).not.toContain("the-end");
    await userEvent.click(more);
    await waitFor(() => expect(container.textContent).toContain("the-end"), { timeout: 5000 });
    expect(screen.queryByRole("button")).toBeNull();
  }, 20_000);
});
