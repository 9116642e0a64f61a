import { Component, lazy, Suspense, useState, type ReactNode } from "react";
import { Skeleton } from "../ui/states";

const Markdown = lazy(() => import("./markdown"));

/** A body this long is shown up to here at first: what it takes to render grows with it. */
const SHOWN_AT_FIRST = 20_000;

/** The text of an issue as GitHub would show it, except that nothing is loaded from elsewhere. */
export function Body({ markdown }: { markdown: string }) {
  const [whole, setWhole] = useState(false);
  if (markdown.trim() === "") return <p className="card-empty">No description was given.</p>;
  const cut = !whole && markdown.length > SHOWN_AT_FIRST;
  const text = cut ? markdown.slice(0, SHOWN_AT_FIRST) : markdown;
  return (
    <div className="markdown" dir="auto">
      <PlainOnFailure key={text} text={text}>
        <Suspense fallback={<Skeleton lines={6} />}>
          <Markdown text={text} />
        </Suspense>
      </PlainOnFailure>
      {cut && (
        <button type="button" className="button" onClick={() => setWhole(true)}>
          Show the remaining {Math.ceil((markdown.length - SHOWN_AT_FIRST) / 1000)} thousand characters
        </button>
      )}
    </div>
  );
}

/** A text that no renderer survives is shown as it is written. */
class PlainOnFailure extends Component<{ text: string; children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? <pre className="plain">{this.props.text}</pre> : this.props.children;
  }
}
