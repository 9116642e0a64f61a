import { use, useSyncExternalStore } from "react";
import { PageContext } from "../shell/context";

const TICK_MS = 15_000;

function subscribeClock(listener: () => void): () => void {
  const timer = setInterval(listener, TICK_MS);
  return () => clearInterval(timer);
}

function tick(): number {
  return Math.floor(Date.now() / TICK_MS);
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** "just now", "5 min. ago", "3 Mar 2026". Moments a little in the future are clocks that disagree. */
export function formatAge(at: number, now: number): string {
  const seconds = Math.round((now - at) / 1000);
  if (seconds < 45) return "just now";
  if (seconds > 30 * 86_400) return day.format(at);
  for (const [unit, size] of UNITS) {
    if (seconds >= size) return relative.format(-Math.floor(seconds / size), unit);
  }
  return relative.format(-1, "minute");
}

/** A moment as its age, with the exact time in the reader's own zone as its title. */
export function Age({ at, prefix }: { at: string; prefix?: string }) {
  const now = useSyncExternalStore(subscribeClock, tick) * TICK_MS;
  // A reader's clock that is wrong must not make ages wrong.
  const feed = use(PageContext)?.feed;
  const moment = Date.parse(at);
  if (!Number.isFinite(moment)) return null;
  return (
    <time className="age" dateTime={at} title={absolute.format(moment)}>
      {prefix}
      {formatAge(moment, now + (feed?.clockSkew ?? 0))}
    </time>
  );
}
