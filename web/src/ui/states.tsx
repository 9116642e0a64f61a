import { CloudOff, Inbox, RotateCw } from "lucide-react";
import type { ReactNode } from "react";
import { explain } from "../api/client";

/** Says that something could not be had, why, and offers to try again. */
export function Failure({ what, error, retry }: { what: string; error: unknown; retry?: () => void }) {
  return (
    <div className="blank" role="alert">
      <CloudOff aria-hidden="true" />
      <h2>{what}</h2>
      <p>{explain(error)}</p>
      {retry && (
        <button type="button" className="button" onClick={retry}>
          <RotateCw aria-hidden="true" /> Try again
        </button>
      )}
    </div>
  );
}

/** Says that there is nothing, and what to do about it. */
export function Nothing({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="blank">
      <Inbox aria-hidden="true" />
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** Grey shapes of what is about to come; silent to screen readers, which hear aria-busy instead. */
export function Skeleton({ lines = 3 }: { lines?: number }) {
  return (
    <div className="skeletons" aria-hidden="true">
      {Array.from({ length: lines }, (_, i) => (
        <span key={i} className="skeleton" />
      ))}
    </div>
  );
}
