import { useEffect, useEffectEvent } from "react";
import { readPreference } from "./preference";

/** Kept on when nothing is stored; single keys get in the way of some who speak to their computer. */
export const SHORTCUTS_PREFERENCE = "shortcuts";

const WRITING = "input, textarea, select, [contenteditable], [role=listbox]";

/** Single keys that act wherever the focus is, except where one writes or chooses. */
export function useShortcuts(actions: Record<string, () => void>): void {
  const handle = useEffectEvent((event: KeyboardEvent) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof Element && event.target.closest(WRITING)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key !== "Escape" && readPreference(SHORTCUTS_PREFERENCE) === "off") return;
    const action = Object.hasOwn(actions, event.key) ? actions[event.key] : undefined;
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
  useEffect(() => {
    document.addEventListener("keydown", handle);
    return () => document.removeEventListener("keydown", handle);
  }, []);
}
