import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { narrow, OptionList, type ListedOption } from "./option-list";

beforeAll(() => {
  // jsdom lays nothing out, so there is nothing to scroll.
  Element.prototype.scrollIntoView = () => undefined;
});

const options: ListedOption[] = [
  { value: "bug", note: "kind/bug", description: "Does not work as documented" },
  { value: "feature", note: "kind/feature" },
  { value: "documentation", note: "kind/docs" },
];

describe("narrow", () => {
  it("ranks names before labels before descriptions", () => {
    expect(narrow(options, "docu").map((o) => o.value)).toEqual(["documentation", "bug"]);
    expect(narrow(options, "kind/f").map((o) => o.value)).toEqual(["feature"]);
    expect(narrow(options, " ").map((o) => o.value)).toEqual(["bug", "feature", "documentation"]);
    expect(narrow(options, "nothing")).toEqual([]);
  });
});

describe("OptionList", () => {
  function Harness({ onPick }: { onPick: (value: string, how: string) => void }) {
    const [selected, setSelected] = useState(["feature"]);
    return (
      <OptionList
        label="Category"
        options={options}
        selected={selected}
        onPick={(value, how) => {
          setSelected([value]);
          onPick(value, how);
        }}
      />
    );
  }

  it("starts at what is selected, and moves with the arrow keys, round the ends", async () => {
    const onPick = vi.fn();
    render(<Harness onPick={onPick} />);
    const user = userEvent.setup();
    await user.click(screen.getByRole("combobox", { name: "Category" }));
    await user.keyboard("{ArrowDown}{ArrowDown}{Enter}");
    expect(onPick).toHaveBeenCalledExactlyOnceWith("bug", "enter");
    expect(screen.getByRole("option", { name: "bug" }).getAttribute("aria-selected")).toBe("true");
  });

  it("points the box at the active option", async () => {
    render(<Harness onPick={() => undefined} />);
    const box = screen.getByRole("combobox");
    await userEvent.type(box, "docu");
    const active = document.getElementById(box.getAttribute("aria-activedescendant") ?? "");
    expect(active?.getAttribute("data-value")).toBe("documentation");
  });

  it("says when nothing matches, and picks nothing then", async () => {
    const onPick = vi.fn();
    render(<Harness onPick={onPick} />);
    await userEvent.type(screen.getByRole("combobox"), "zebra{Enter}");
    expect(screen.getByText("Nothing matches “zebra”.")).toBeTruthy();
    expect(onPick).not.toHaveBeenCalled();
  });

  it("picks with the mouse", async () => {
    const onPick = vi.fn();
    render(<Harness onPick={onPick} />);
    await userEvent.click(screen.getByRole("option", { name: "documentation" }));
    expect(onPick).toHaveBeenCalledExactlyOnceWith("documentation", "click");
  });
});
