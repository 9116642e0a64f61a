import { Monitor, Moon, Sun } from "lucide-react";
import { useEffect } from "react";
import { usePreference } from "./preference";
import { useShortcuts } from "./shortcuts";

const THEMES = [
  { value: "", name: "system", Icon: Monitor, next: "light" },
  { value: "light", name: "light", Icon: Sun, next: "dark" },
  { value: "dark", name: "dark", Icon: Moon, next: "" },
] as const;

/** Goes round the system's theme, light and dark. */
export function ThemeToggle() {
  const [stored, setStored] = usePreference("theme");
  const { name, Icon, next } = THEMES.find((theme) => theme.value === stored) ?? THEMES[0];
  useEffect(() => {
    if (stored === "") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = stored;
  }, [stored]);
  const change = () => setStored(next);
  useShortcuts({ t: change });
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={`Theme: ${name}`}
      title={`Theme: ${name} (t)`}
      onClick={change}
    >
      <Icon aria-hidden="true" />
    </button>
  );
}
