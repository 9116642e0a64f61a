import type { Process } from "../api/system";
import { formatCount } from "../shell/header";
import { summarizeLag } from "./summary";

const NAMES: Record<string, string> = {
  classify: "Events to classify",
  label: "Results to label",
  directory: "Installations to note",
};

/** What waits in the event log for each group of workers. */
export function Backlog({ processes }: { processes: readonly Process[] }) {
  const groups = summarizeLag(processes);
  return (
    <section className="card" aria-label="Waiting">
      <h2 className="card-title">Waiting</h2>
      {groups.length === 0 && <p className="card-empty">No process has reported what waits for it.</p>}
      <dl className="system-lag">
        {groups.map(({ group, lag, lost }) => (
          <div key={group} data-testid="system-lag" data-group={group}>
            <dt>{NAMES[group] ?? group}</dt>
            <dd>
              {formatCount(lag)}
              {lost > 0 && <span className="system-lost">{formatCount(lost)} lost</span>}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
