import { useEffect, useState, useSyncExternalStore } from "react";
import type { ConnectionState, LiveConnection } from "../live/connection";

const WORDS: Record<ConnectionState["phase"], string> = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  offline: "Offline",
};

const SPOKEN: Record<ConnectionState["phase"], string> = {
  connecting: "Connecting to the live stream.",
  live: "Live: changes appear as they happen.",
  reconnecting: "Connection lost. Reconnecting.",
  offline: "You are offline. What you see may be out of date.",
};

/** Whether what one sees is live, and when the next attempt comes if it is not. */
export function ConnectionIndicator({ connection }: { connection: LiveConnection }) {
  const state = useSyncExternalStore(connection.subscribe, connection.getState);
  const retryAt = "retryAt" in state ? state.retryAt : null;
  const seconds = useSecondsUntil(retryAt);
  return (
    <div className="connection" data-testid="connection" data-state={state.phase} title={SPOKEN[state.phase]}>
      <span className="connection-dot" aria-hidden="true" />
      <span aria-hidden="true">
        {WORDS[state.phase]}
        {state.phase !== "live" && (retryAt === null || seconds === 0) && "…"}
        {retryAt !== null && seconds > 0 && <span className="connection-countdown"> in {seconds} s</span>}
      </span>
      <span className="sr-only" aria-live="polite">
        {SPOKEN[state.phase]}
      </span>
      {retryAt !== null && (
        <button type="button" className="link-button" onClick={connection.retryNow}>
          Retry<span className="retry-now"> now</span>
        </button>
      )}
    </div>
  );
}

function useSecondsUntil(moment: number | null): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (moment === null) return;
    const update = () => setNow(Date.now());
    const first = setTimeout(update, 0);
    const timer = setInterval(update, 500);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [moment]);
  return moment === null ? 0 : Math.max(0, Math.ceil((moment - now) / 1000));
}
