import { ArrowRight } from "lucide-react";
import type { Correction } from "../api/issue";
import { Age } from "../ui/time";

/** Who changed what, when and why; the newest first. */
export function Audit({ corrections }: { corrections: readonly Correction[] }) {
  const newestFirst = [...corrections].sort((a, b) => b.at.localeCompare(a.at));
  return (
    <section className="card" aria-label="Corrections" data-testid="corrections">
      <h2 className="card-title">Corrections</h2>
      {newestFirst.length === 0 && <p className="card-empty">Nobody has corrected this issue.</p>}
      <ol className="audit">
        {newestFirst.map((correction, index) => (
          <li key={`${correction.eventId}/${correction.field}/${index}`}>
            <p>
              <bdi className="audit-actor">{correction.actor || "Somebody"}</bdi> changed {correction.field}{" "}
              <Values values={correction.old} /> <ArrowRight aria-label="to" />{" "}
              <Values values={correction.new} />
            </p>
            {correction.reason && (
              <p className="audit-reason">
                “<bdi>{correction.reason}</bdi>”
              </p>
            )}
            <p className="audit-when">
              {correction.source === "github" ? "on GitHub" : "on the dashboard"} · <Age at={correction.at} />
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Values({ values }: { values: readonly string[] }) {
  if (values.length === 0) return <span className="chip chip-none">none</span>;
  return values.map((value) => (
    <span key={value} className="chip">
      <bdi>{value}</bdi>
    </span>
  ));
}
