import type { GroupLag, Process, RunningPlugin, System } from "../api/system";

/** A plugin in all processes together. */
export interface PluginSummary {
  name: string;
  enabled: boolean;
  by: string;
  at: string;
  /** What to call its state: that of the process in which it fares worst. */
  state: string;
  version: string;
  /** In how many processes it runs, and in how many it is to. */
  running: number;
  processes: number;
  restarts: number;
  lastError: string;
  revisionError: string;
}

const WORST_FIRST = ["restarting", "circuit open", "stopped", "starting"];

/** Every plugin that runs somewhere or that an operator decided on, by name. */
export function summarizePlugins(system: System): PluginSummary[] {
  return system.plugins.map((decided) => {
    const copies = system.processes.flatMap((process) =>
      process.plugins.filter((plugin) => plugin.name === decided.name),
    );
    return {
      name: decided.name,
      enabled: decided.enabled,
      by: decided.by,
      at: decided.at,
      state: stateOf(decided.enabled, copies),
      version: [...new Set(copies.map((copy) => copy.version).filter(Boolean))].join(", "),
      running: copies.filter((copy) => copy.state === "running").length,
      processes: copies.length,
      restarts: copies.reduce((sum, copy) => sum + copy.restarts, 0),
      lastError: copies.find((copy) => copy.lastError !== "")?.lastError ?? "",
      revisionError: copies.find((copy) => copy.revisionError !== "")?.revisionError ?? "",
    };
  });
}

function stateOf(enabled: boolean, copies: readonly RunningPlugin[]): string {
  if (!enabled) return "disabled";
  if (copies.length === 0) return "not running";
  // One that still says disabled has not heard yet that it is enabled again.
  return WORST_FIRST.find((state) => copies.some((copy) => copy.state === state)) ?? copies[0]?.state ?? "";
}

/** Each group's lag by the newest report of it, in the order of the data's way. */
export function summarizeLag(processes: readonly Process[]): GroupLag[] {
  const newest = new Map<string, { at: number; lag: GroupLag }>();
  for (const process of processes) {
    const at = Date.parse(process.reportedAt) || 0;
    for (const lag of process.groups) {
      const known = newest.get(lag.group);
      if (known === undefined || at > known.at) newest.set(lag.group, { at, lag });
    }
  }
  return [...newest.values()].map(({ lag }) => lag).sort((a, b) => rank(a.group) - rank(b.group));
}

const GROUP_ORDER = ["classify", "label", "directory"];

function rank(group: string): number {
  const at = GROUP_ORDER.indexOf(group);
  return at < 0 ? GROUP_ORDER.length : at;
}
