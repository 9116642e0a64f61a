import type { Process } from "../api/system";
import { Age } from "../ui/time";

/** The processes that have reported themselves within the last minute. */
export function Processes({ processes }: { processes: readonly Process[] }) {
  return (
    <section className="card" aria-label="Processes">
      <h2 className="card-title">
        <span>Processes</span>
        <span className="system-count">{processes.length}</span>
      </h2>
      {processes.length === 0 && (
        <p className="card-empty">No process has reported itself within a minute.</p>
      )}
      <ul className="system-list">
        {processes.map((process) => (
          <li key={process.name} data-testid="system-process" title={process.name}>
            <span className="system-name">
              <bdi>{process.host || process.name}</bdi>
              <span className="system-version">pid {process.pid}</span>
            </span>
            <span className="system-roles">
              {process.roles.map((role) => (
                <span key={role} className="chip">
                  {role}
                </span>
              ))}
            </span>
            <span className="system-note">
              <bdi>{process.version}</bdi> · <Age at={process.startedAt} prefix="started " /> ·{" "}
              <Age at={process.reportedAt} prefix="reported " />
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
