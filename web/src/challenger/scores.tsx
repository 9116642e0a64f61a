import type { ChallengeScore } from "../api/challenges";
import { FIELD_NAMES } from "../issue/fields";

/** How often each is right, where people have said what is true. */
export function Scores({ scores }: { scores: readonly ChallengeScore[] }) {
  return (
    <section className="card" aria-label="Scores">
      <h2 className="card-title">So far</h2>
      <p className="settings-meaning">
        Who is right is known only where a person has corrected or confirmed the field. In brackets, where the
        true share is with 95% certainty.
      </p>
      <div className="scores-scroll" tabIndex={0} role="region" aria-label="Scores by field">
        <table className="scores">
          <thead>
            <tr>
              <th scope="col">Challenger</th>
              <th scope="col">Field</th>
              <th scope="col">Agreed</th>
              <th scope="col">Deciders right</th>
              <th scope="col">Challenger right</th>
            </tr>
          </thead>
          <tbody>
            {scores.map((s) => (
              <tr key={`${s.repository} ${s.challenger} ${s.version} ${s.field}`} data-testid="score">
                <th scope="row">
                  <bdi>{s.challenger}</bdi> <span className="system-version">{s.version}</span>
                  <div className="system-version">
                    <bdi>{s.repository}</bdi>
                  </div>
                </th>
                <td>{FIELD_NAMES[s.field]}</td>
                <td>
                  {percent(s.agreed / s.compared)} <span className="system-version">of {s.compared}</span>
                </td>
                <td>{rate(s.championRight, s.judged, s.championInterval)}</td>
                <td>{rate(s.challengerRight, s.judged, s.challengerInterval)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}

function rate(right: number, judged: number, [low, high]: [number, number]): string {
  if (judged === 0) return "not known yet";
  return `${right} of ${judged} (${percent(low)} to ${percent(high)})`;
}
