import { Monitor, Moon, Sun } from "lucide-react";
import { useEffect } from "react";
import { usePreference } from "./preference";
import { useShortcuts } from "./shortcuts";

const THEMES = [
  { value: "", name: "system", Icon: Monitor },
  { value: "light", name: "light", Icon: Sun },
  { value: "dark", name: "dark", Icon: Moon },
] as const;

/** Goes round the system's theme, light and dark. */
export function ThemeToggle() {
  const [stored, setStored] = usePreference("theme");
  const at = Math.max(
    0,
    THEMES.findIndex((theme) => theme.value === stored),
  );
  const { name, Icon } = THEMES[at]!;
  useEffect(() => {
    if (stored === "") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = stored;
  }, [stored]);
  const next = () => setStored(THEMES[(at + 1) % THEMES.length]!.value);
  useShortcuts({ t: next });
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={`Theme: ${name}`}
      title={`Theme: ${name} (t)`}
      onClick={next}
    >
      <Icon aria-hidden="true" />
    </button>
  );
}
