import { render } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import Markdown from "./markdown";

function show(text: string): HTMLElement {
  return render(<Markdown text={text} />).container;
}

describe("Markdown", () => {
  it("renders GitHub's Markdown", () => {
    const shown = show("# Title\n\n- [x] done\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n~~no~~ `code`\n");
    expect(shown.querySelector("h1")?.textContent).toBe("Title");
    expect(shown.querySelector("input[type=checkbox]")?.hasAttribute("disabled")).toBe(true);
    expect(shown.querySelectorAll("td")).toHaveLength(2);
    expect(shown.querySelector("del")?.textContent).toBe("no");
  });

  it("reads the HTML that issues use, and leaves comments out", () => {
    const shown = show("<!-- fill in -->\n<details><summary>Log</summary>\n\n**x**\n\n</details>");
    expect(shown.querySelector("details summary")?.textContent).toBe("Log");
    expect(shown.querySelector("details strong")).toBeTruthy();
    expect(shown.textContent).not.toContain("fill in");
  });

  it("makes images links, and words inside links", () => {
    const shown = show(
      '![plan](https://x.example/plan.png) [![badge](https://x.example/b.svg)](https://x.example/ci)\n\n<picture><source srcset="https://x.example/s.png"><img src="https://x.example/i.png"></picture>',
    );
    expect(shown.querySelectorAll("img, picture, source, a a")).toHaveLength(0);
    const links = [...shown.querySelectorAll("a")].map((a) => [a.textContent, a.getAttribute("href")]);
    expect(links).toEqual([
      ["plan", "https://x.example/plan.png"],
      ["badge", "https://x.example/ci"],
      ["image", "https://x.example/i.png"],
    ]);
  });

  it("opens links elsewhere without telling where from", () => {
    const link = show("[x](https://x.example/)").querySelector("a");
    expect(link?.getAttribute("rel")).toBe("noopener noreferrer nofollow");
    expect(link?.getAttribute("target")).toBe("_blank");
  });

  it.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<iframe src='https://x.example'></iframe><object data=x></object><embed src=x>",
    "<a href='javascript:alert(1)'>x</a> [y](javascript:alert(1)) [z](data:text/html,x) <javascript:alert(1)>",
    "<style>body{display:none}</style><link rel=stylesheet href=https://x.example/a.css>",
    "<div style='position:fixed;inset:0' onclick=alert(1) class=notice>over everything</div>",
    "<form action=https://x.example><input name=password><button>go</button></form>",
    "<video src=https://x.example/v.mp4 autoplay></video><audio src=https://x.example/a.mp3></audio>",
    "<base href=https://x.example><meta http-equiv=refresh content='0;url=https://x.example'>",
    "![x](javascript:alert(1))",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
  ])("lets nothing run and nothing load: %s", (text) => {
    const shown = show(text);
    expect(
      shown.querySelectorAll(
        "script, img, svg:not(.lucide), iframe, object, embed, style, link, form, video, audio, base, meta, button, math",
      ),
    ).toHaveLength(0);
    for (const element of shown.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        expect(name).not.toMatch(/^on/);
        if (!element.closest("svg")) expect(name).not.toBe("style");
        expect(value).not.toMatch(/^\s*(javascript|data):/i);
      }
    }
  });

  it("takes text of any kind without throwing", () => {
    const parts = [
      "<",
      ">",
      "[",
      "]",
      "(",
      "*",
      "`",
      "|",
      "\n",
      "> ",
      "- ",
      "# ",
      "&#0;",
      "\u202e",
      "<b",
      "<!--",
      "a",
      "https://",
      "@",
      "~",
    ];
    let state = 7;
    for (let i = 0; i < 150; i++) {
      let text = "";
      for (let n = 0; n < 60; n++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        text += parts[state % parts.length]!;
      }
      const view = render(<Markdown text={text} />);
      expect(view.container.querySelector("script, img, iframe")).toBeNull();
      view.unmount();
    }
  });
});
