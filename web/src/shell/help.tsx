import { X } from "lucide-react";
import { useEffect, useRef } from "react";
import { usePreference } from "./preference";
import { SHORTCUTS_PREFERENCE } from "./shortcuts";

const KEYS: [string[], string][] = [
  [["j", "k"], "Next, previous issue"],
  [["Enter"], "Open the issue"],
  [["Esc"], "Back to the list"],
  [["c"], "Correct the category"],
  [["p"], "Correct the priority"],
  [["o"], "Open the issue on GitHub"],
  [["."], "Show new issues, go to the top"],
  [["/"], "Search"],
  [["d"], "What a challenger would have said"],
  [["s"], "Processes, plugins and repositories"],
  [["t"], "Change the theme"],
  [["?"], "This help"],
];

/** The keys, and the preferences of this browser. */
export function Help({ open, close }: { open: boolean; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [shortcuts, setShortcuts] = usePreference(SHORTCUTS_PREFERENCE);
  const [actor, setActor] = usePreference("actor");
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} className="help" aria-labelledby="help-title" onClose={close}>
      <div className="help-head">
        <h2 id="help-title">Keys and preferences</h2>
        <button type="button" className="icon-button" aria-label="Close" onClick={close}>
          <X aria-hidden="true" />
        </button>
      </div>
      <dl className="keys">
        {KEYS.map(([keys, meaning]) => (
          <div key={meaning}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <label className="check-row">
        <input
          type="checkbox"
          checked={shortcuts !== "off"}
          onChange={(event) => setShortcuts(event.target.checked ? "" : "off")}
        />
        Single-key shortcuts
      </label>
      <label className="field-label">
        Your name, shown with your corrections
        <input
          className="input"
          type="text"
          maxLength={100}
          value={actor}
          onChange={(event) => setActor(event.target.value)}
        />
      </label>
    </dialog>
  );
}
