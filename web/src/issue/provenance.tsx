import type { LedgerEntry } from "../api/issue";
import { Age } from "../ui/time";

const STATES: Record<string, { word: string; tone: string; meaning: string }> = {
  intended: { word: "to be added", tone: "yellow", meaning: "About to be put on the issue" },
  written: { word: "added", tone: "green", meaning: "GitHub answered that it was added" },
  confirmed: { word: "on the issue", tone: "green", meaning: "GitHub has told us that it stands there" },
  removing: { word: "to be removed", tone: "yellow", meaning: "About to be taken off" },
  removed: { word: "removed", tone: "gray", meaning: "Taken off by DispatchAI itself" },
  vetoed: { word: "vetoed", tone: "red", meaning: "Taken off by somebody else; no plugin adds it again" },
  foreign: { word: "not ours", tone: "gray", meaning: "Somebody else had put it there; it is theirs" },
};

/** Each label that DispatchAI wrote, or wanted to: on whose word, and what became of it. */
export function Provenance({ ledger }: { ledger: readonly LedgerEntry[] }) {
  return (
    <section className="card" aria-label="Labels written">
      <h2 className="card-title">Labels written</h2>
      {ledger.length === 0 && <p className="card-empty">DispatchAI has written no label on this issue.</p>}
      {ledger.length > 0 && (
        <ul className="ledger">
          {ledger.map((entry) => {
            const state = Object.hasOwn(STATES, entry.state) ? STATES[entry.state] : undefined;
            return (
              <li key={entry.name}>
                <bdi className="ledger-name">{entry.name}</bdi>
                <span className="chip" data-tone={state?.tone} title={state?.meaning}>
                  {state?.word ?? entry.state}
                </span>
                <span className="ledger-why">
                  {entry.source === "human" ? (
                    <>a person's correction</>
                  ) : (
                    <bdi>
                      {entry.plugin}
                      {entry.version && `@${entry.version}`}, {Math.round(entry.confidence * 100)}% sure
                    </bdi>
                  )}
                  {entry.field && (
                    <>
                      {" "}
                      · {entry.field}: <bdi>{entry.value}</bdi>
                    </>
                  )}
                  {entry.actor && (
                    <>
                      {" "}
                      · by <bdi>{entry.actor}</bdi>
                    </>
                  )}
                </span>
                <Age at={entry.updatedAt} />
              </li>
            );
          })}
        </ul>
      )}
    </section>
  );
}
