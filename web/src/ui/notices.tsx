import { CircleAlert, CircleCheck, Info, X } from "lucide-react";
import { createContext, use, useCallback, useEffect, useRef, useState, type ReactNode } from "react";

export interface Notice {
  kind: "success" | "info" | "error";
  text: string;
  action?: { label: string; run: () => void };
}

interface Posted extends Notice {
  id: number;
}

const MAX_SHOWN = 3;
const SHOWN_FOR_MS = 6_000;

const NoticeContext = createContext<(notice: Notice) => void>(() => undefined);

/** Returns a function that tells the person something, on screen and to screen readers. */
export function useNotify(): (notice: Notice) => void {
  return use(NoticeContext);
}

const ICONS = { success: CircleCheck, info: Info, error: CircleAlert };

export function NoticeProvider({ children }: { children: ReactNode }) {
  const [posted, setPosted] = useState<Posted[]>([]);
  const nextId = useRef(1);
  const post = useCallback((notice: Notice) => {
    const id = nextId.current++;
    setPosted((all) => [...all, { ...notice, id }].slice(-MAX_SHOWN));
  }, []);
  const dismiss = useCallback((id: number) => setPosted((all) => all.filter((n) => n.id !== id)), []);
  return (
    <NoticeContext value={post}>
      {children}
      <div className="notices" role="region" aria-label="Notices">
        <div aria-live="polite">
          {posted.map((notice) => (
            <NoticeCard key={notice.id} notice={notice} dismiss={dismiss} />
          ))}
        </div>
      </div>
    </NoticeContext>
  );
}

function NoticeCard({ notice, dismiss }: { notice: Posted; dismiss: (id: number) => void }) {
  const { id, kind, text, action } = notice;
  useEffect(() => {
    // What went wrong stays until it has been read.
    if (kind === "error") return;
    const timer = setTimeout(() => dismiss(id), SHOWN_FOR_MS);
    return () => clearTimeout(timer);
  }, [id, kind, dismiss]);
  const Icon = ICONS[kind];
  return (
    <div className="notice" data-kind={kind} role={kind === "error" ? "alert" : undefined}>
      <Icon aria-hidden="true" />
      <p>{text}</p>
      {action && (
        <button
          type="button"
          className="button button-quiet"
          onClick={() => {
            dismiss(id);
            action.run();
          }}
        >
          {action.label}
        </button>
      )}
      <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => dismiss(id)}>
        <X aria-hidden="true" />
      </button>
    </div>
  );
}
