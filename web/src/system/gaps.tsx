import type { Backfill, Gaps, RepositoryGaps } from "../api/gaps";
import { formatCount } from "../shell/header";
import { Age } from "../ui/time";

/** Whether anything that GitHub told was missed, and what was done about it. */
export function GapReport({ gaps }: { gaps: Gaps }) {
  const d = gaps.deliveries;
  const counts: [label: string, count: number, note: string][] = [
    ["Deliveries GitHub made", d.made, ""],
    ["Held", d.held, d.waiting > 0 ? `${formatCount(d.waiting)} waiting` : ""],
    ["Failed at first", d.failed, d.healed > 0 ? `${formatCount(d.healed)} healed` : ""],
    ["Asked for again", d.redelivered, ""],
    ["Missing", d.missing, ""],
    ["Given up", d.givenUp, d.covered > 0 ? `${formatCount(d.covered)} made good` : ""],
  ];
  return (
    <section className="card" aria-label="Gaps">
      <h2 className="card-title">Gaps</h2>
      <p className="system-verdict" data-testid="system-gaps" data-gapless={gaps.gapless} role="status">
        {gaps.summary || "Nothing is known of gaps yet."}
      </p>
      <dl className="system-lag">
        {counts.map(([label, count, note]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>
              {formatCount(count)}
              {note && <span className="system-aside">{note}</span>}
            </dd>
          </div>
        ))}
      </dl>
      <p className="system-hint">
        Deliveries of the last three days.{" "}
        {gaps.sweptAt !== "" && <Age at={gaps.sweptAt} prefix="GitHub’s log was read " />}
      </p>
      <ul className="system-list">
        {gaps.repositories.map((repository) => (
          <Repository key={repository.id} repository={repository} />
        ))}
      </ul>
    </section>
  );
}

function Repository({ repository }: { repository: RepositoryGaps }) {
  const found = repository.missing + repository.changed;
  return (
    <li data-testid="system-repository">
      <span className="system-name">
        <bdi>{repository.fullName}</bdi>
      </span>
      {repository.backfill && <BackfillChip backfill={repository.backfill} />}
      <span className="system-note">
        {repository.reconciledAt === "" ? (
          "not compared with GitHub yet"
        ) : (
          <Age at={repository.reconciledAt} prefix="compared with GitHub " />
        )}
        {found > 0 &&
          `, ${formatCount(repository.missing)} missing and ${formatCount(repository.changed)} changed issues found in all`}
      </span>
      {repository.error && (
        <p className="system-error">
          Last error: <bdi>{repository.error}</bdi>
        </p>
      )}
    </li>
  );
}

const TONES: Record<string, string> = { running: "yellow", done: "green", failed: "red" };

function BackfillChip({ backfill }: { backfill: Backfill }) {
  const running = backfill.status === "running";
  const share =
    running && backfill.total > 0
      ? ` ${Math.min(100, Math.floor((100 * backfill.listed) / backfill.total))} %`
      : "";
  return (
    <span className="chip" data-tone={TONES[backfill.status]}>
      backfill {backfill.status}
      {share}
    </span>
  );
}
