import { Link, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { explain, type Filters } from "../api/client";
import type { Disagreement, Opinion } from "../api/challenges";
import { FIELD_NAMES } from "../issue/fields";
import { correctIssue } from "../issue/correct";
import { useFeed } from "../shell/context";
import { usePreference } from "../shell/preference";
import { Chip } from "../ui/chip";
import { useNotify } from "../ui/notices";

/** What the two would label differently; a click on the one who is right is a correction. */
export function Disagreements({
  disagreements,
  settled,
}: {
  disagreements: readonly Disagreement[];
  settled: () => void;
}) {
  return (
    <section className="card" aria-label="Disagreements">
      <h2 className="card-title">Who is right?</h2>
      {disagreements.length === 0 ? (
        <p className="card-empty">No disagreement waits for anybody&rsquo;s word.</p>
      ) : (
        <p className="settings-meaning">
          The ones from which there is most to learn come first. Choosing an answer corrects the issue.
        </p>
      )}
      <ul className="disagreements">
        {disagreements.map((disagreement) => (
          <Row
            key={`${disagreement.issueId} ${disagreement.challenger} ${disagreement.field}`}
            disagreement={disagreement}
            settled={settled}
          />
        ))}
      </ul>
    </section>
  );
}

function Row({ disagreement: d, settled }: { disagreement: Disagreement; settled: () => void }) {
  const feed = useFeed();
  const notify = useNotify();
  const filters: Filters = useSearch({ from: "__root__" });
  const [actor] = usePreference("actor");
  const [busy, setBusy] = useState(false);
  const name = FIELD_NAMES[d.field];
  const where = `${name} of #${d.number}`;
  const choose = (opinion: Opinion) => {
    setBusy(true);
    const wish = { field: d.field, values: opinion.values, reason: "", actor: actor.trim() };
    correctIssue(feed, d.issueId, wish)
      .then(
        () => notify({ kind: "success", text: `${where} is now ${opinion.values.join(", ") || "empty"}.` }),
        (error: unknown) => {
          setBusy(false);
          notify({ kind: "error", text: `${where} was not changed. ${explain(error)}` });
        },
      )
      .finally(settled);
  };
  return (
    <li data-testid="disagreement" data-issue-id={d.issueId} data-field={d.field}>
      <Link
        to="/issues/$issueId"
        params={{ issueId: String(d.issueId) }}
        search={filters}
        className="disagreement-issue"
      >
        <bdi>{d.title || "(no title)"}</bdi>{" "}
        <span className="detail-number">
          <bdi>{d.repository}</bdi>#{d.number}
        </span>
      </Link>
      <span className="disagreement-field">{name}</span>
      <Choice
        who={d.champion.plugin || "nobody"}
        role="decides"
        where={where}
        d={d}
        opinion={d.champion}
        busy={busy}
        choose={choose}
      />
      <Choice
        who={d.challenger}
        role="challenges"
        where={where}
        d={d}
        opinion={d.challengerSays}
        busy={busy}
        choose={choose}
      />
    </li>
  );
}

function Choice({
  who,
  role,
  where,
  d,
  opinion,
  busy,
  choose,
}: {
  who: string;
  role: "decides" | "challenges";
  where: string;
  d: Disagreement;
  opinion: Opinion;
  busy: boolean;
  choose: (opinion: Opinion) => void;
}) {
  const says = opinion.values.join(", ") || "none";
  return (
    <button
      type="button"
      className="button disagreement-choice"
      data-testid={`side-${role}`}
      aria-label={`${where} is ${says}, as ${who} says`}
      disabled={busy}
      onClick={() => choose(opinion)}
    >
      <span className="disagreement-values">
        {opinion.values.map((value) => (
          <Chip key={value} field={d.field} value={value} />
        ))}
        {opinion.values.length === 0 && <span className="field-none">none</span>}
      </span>
      <span className="disagreement-who">
        <bdi>{who}</bdi> {role}
        {opinion.values.length > 0 && `, ${Math.round(opinion.confidence * 100)}% sure`}
        {opinion.values.length > 0 && !opinion.sure && ", too little for a label"}
      </span>
    </button>
  );
}
