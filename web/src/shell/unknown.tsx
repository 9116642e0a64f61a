import { Link } from "@tanstack/react-router";
import { Nothing } from "../ui/states";

/** The answer to an address that means nothing here. */
export function Unknown() {
  return (
    <section className="detail-pane">
      <Nothing title="There is nothing at this address">
        <p>
          <Link to="/">Go to all issues</Link>
        </p>
      </Nothing>
    </section>
  );
}
