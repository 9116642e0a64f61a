import { list, number, record, text, texts } from "./decode";

/** How far a consumer group is behind, all of its members together. */
export interface GroupLag {
  group: string;
  lag: number;
  /** Records that were deleted before the group read them; more than none is a loss. */
  lost: number;
}

/** A plugin as one process runs it. */
export interface RunningPlugin {
  name: string;
  version: string;
  state: string;
  since: string;
  restarts: number;
  lastError: string;
  /** Why the last upgrade, rollback or reload is not in force; empty where it is. */
  revisionError: string;
}

export interface Process {
  name: string;
  host: string;
  pid: number;
  roles: string[];
  version: string;
  startedAt: string;
  reportedAt: string;
  groups: GroupLag[];
  plugins: RunningPlugin[];
}

/** What an operator decided on a plugin; `by` is empty while nobody has. */
export interface PluginSwitch {
  name: string;
  enabled: boolean;
  by: string;
  at: string;
}

/** The running installation, as its processes report themselves. */
export interface System {
  serverTime: string;
  processes: Process[];
  plugins: PluginSwitch[];
}

export function decodeSystem(raw: unknown): System {
  const r = record(raw);
  return {
    serverTime: text(r.server_time),
    processes: list(r.processes, decodeProcess),
    plugins: list(r.plugins, (item) => {
      const p = record(item);
      if (text(p.name) === "") return undefined;
      return { name: text(p.name), enabled: p.enabled !== false, by: text(p.by), at: text(p.at) };
    }),
  };
}

function decodeProcess(raw: unknown): Process | undefined {
  const r = record(raw);
  if (text(r.name) === "") return undefined;
  return {
    name: text(r.name),
    host: text(r.host),
    pid: number(r.pid),
    roles: texts(r.roles),
    version: text(r.version),
    startedAt: text(r.started_at),
    reportedAt: text(r.reported_at),
    groups: list(r.groups, (item) => {
      const g = record(item);
      if (text(g.group) === "") return undefined;
      return { group: text(g.group), lag: number(g.lag), lost: number(g.lost) };
    }),
    plugins: list(r.plugins, (item) => {
      const p = record(item);
      if (text(p.name) === "") return undefined;
      return {
        name: text(p.name),
        version: text(p.version),
        state: text(p.state),
        since: text(p.since),
        restarts: number(p.restarts),
        lastError: text(p.last_error),
        revisionError: text(p.revision_error),
      };
    }),
  };
}
