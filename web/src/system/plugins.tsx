import type { System } from "../api/system";
import { Age } from "../ui/time";
import { summarizePlugins, type PluginSummary } from "./summary";

const TONES: Record<string, string> = {
  running: "green",
  starting: "yellow",
  restarting: "red",
  "circuit open": "red",
  stopped: "red",
};

/** Each plugin: whether it is asked, how it fares, and what went wrong last. */
export function Plugins({ system }: { system: System }) {
  const plugins = summarizePlugins(system);
  const runs = plugins.filter((plugin) => plugin.processes > 0);
  const idle = runs.length > 0 && runs.every((plugin) => !plugin.enabled);
  return (
    <section className="card" aria-label="Plugins">
      <h2 className="card-title">Plugins</h2>
      {idle && (
        <p className="system-warning" role="status">
          No plugin is enabled: new issues wait, unclassified, until one is. Nothing is lost.
        </p>
      )}
      {plugins.length === 0 && <p className="card-empty">No process has reported a plugin yet.</p>}
      <ul className="system-list">
        {plugins.map((plugin) => (
          <li key={plugin.name} data-testid="system-plugin" data-state={plugin.state}>
            <span className="system-name">
              <bdi>{plugin.name}</bdi>
              {plugin.version && <span className="system-version">{plugin.version}</span>}
            </span>
            <span className="chip" data-tone={TONES[plugin.state]}>
              {plugin.state}
            </span>
            <span className="system-note">
              <Note plugin={plugin} />
            </span>
            {plugin.lastError && (
              <p className="system-error">
                Last error: <bdi>{plugin.lastError}</bdi>
              </p>
            )}
            {plugin.revisionError && (
              <p className="system-error">
                It runs as before, because its last revision does not: <bdi>{plugin.revisionError}</bdi>
              </p>
            )}
            {!plugin.enabled && (
              <p className="system-hint">
                Enable it with <code>dispatchai plugin enable {plugin.name}</code>
              </p>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Note({ plugin }: { plugin: PluginSummary }) {
  if (!plugin.enabled) {
    return (
      <>
        by <bdi>{plugin.by || "somebody"}</bdi>, <Age at={plugin.at} />
      </>
    );
  }
  if (plugin.processes === 0) return <>no process runs it</>;
  return (
    <>
      {plugin.processes > 1 && `in ${plugin.running} of ${plugin.processes} processes, `}
      {plugin.restarts === 0
        ? "never restarted"
        : `${plugin.restarts} ${plugin.restarts === 1 ? "restart" : "restarts"}`}
    </>
  );
}
