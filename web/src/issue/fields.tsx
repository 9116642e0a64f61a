import { Hand, LoaderCircle, Workflow } from "lucide-react";
import { FIELDS, type Answer, type Field, type Options, type PassedOver } from "../api/issue";
import type { PendingCorrection, ShownIssue } from "../live/board";
import { Chip } from "../ui/chip";
import { Confidence } from "../ui/confidence";
import { CorrectionMenu } from "./correction-menu";

export const FIELD_NAMES: Record<Field, string> = {
  category: "Category",
  priority: "Priority",
  severity: "Severity",
  component: "Component",
  tags: "Tags",
  effort: "Effort",
  assignees: "Assignees",
  summary: "Summary",
  sentiment: "Sentiment",
};

/** Each field of the classification: its value, how sure it is, why, on whose word, and the way to correct it. */
export function Fields({
  issue,
  options,
  loaded,
}: {
  issue: ShownIssue;
  options: Options;
  /** Whether the options are known yet. */
  loaded: boolean;
}) {
  const { classification } = issue;
  if (classification === null) {
    return (
      <section className="card fields" aria-label="Classification" aria-busy="true">
        <h2 className="card-title">Classification</h2>
        <p className="classifying">Classifying… Its fields can be corrected as soon as they are there.</p>
        <div className="skeletons" aria-hidden="true">
          <span className="skeleton" />
          <span className="skeleton" />
        </div>
      </section>
    );
  }
  const shown = FIELDS.filter(
    (field) => classification.fields[field] !== undefined || (options[field]?.length ?? 0) > 0,
  );
  return (
    <section className="card fields" aria-label="Classification">
      <h2 className="card-title">Classification</h2>
      {classification.hold && (
        <p className="held" role="note">
          <Hand aria-hidden="true" />
          <span>
            Held for a person: no label is written until somebody says what this issue is.{" "}
            <bdi>{classification.hold}</bdi>
          </span>
        </p>
      )}
      {shown.map((field) => (
        <FieldRow
          key={field}
          issue={issue}
          field={field}
          answer={classification.fields[field]}
          pending={issue.pending[field]}
          options={options}
          loaded={loaded}
        />
      ))}
      {shown.length === 0 && (
        <p className="classifying">The classifiers were not sure enough of anything to say it.</p>
      )}
      {classification.reasoning && (
        <p className="reasoning">
          <bdi>{classification.reasoning}</bdi>
        </p>
      )}
      {classification.passedOver.map((passed) => (
        <p key={passed.plugin} className="passed-over" title={passed.detail}>
          Without <bdi>{passed.plugin}</bdi>: {WITHOUT[passed.reason]}
        </p>
      ))}
    </section>
  );
}

const WITHOUT: Record<PassedOver["reason"], string> = {
  unavailable: "it was not available.",
  slow: "it did not answer in time.",
  failed: "it failed over this issue.",
  budget: "the day's budget was spent.",
};

function FieldRow({
  issue,
  field,
  answer,
  pending,
  options,
  loaded,
}: {
  issue: ShownIssue;
  field: Field;
  answer: Answer | undefined;
  pending: PendingCorrection | undefined;
  options: Options;
  loaded: boolean;
}) {
  const choices = options[field] ?? [];
  const values = answer?.values ?? [];
  return (
    <div className="field" data-pending={pending?.phase}>
      <h3 className="field-name">{FIELD_NAMES[field]}</h3>
      <div className="field-value" data-testid={`field-${field}`} data-value={values.join(",")}>
        {values.map((value) =>
          field === "summary" ? (
            <bdi key={value}>{value}</bdi>
          ) : (
            <Chip key={value} field={field} value={value} />
          ),
        )}
        {values.length === 0 && (
          <span className="field-none">{answer ? "does not apply" : "no answer: not sure enough"}</span>
        )}
      </div>
      <div className="field-sure">{answer && !pending && <Confidence answer={answer} />}</div>
      <div className="field-action">
        {choices.length > 0 && (
          <CorrectionMenu
            issue={issue}
            field={field}
            name={FIELD_NAMES[field]}
            choices={choices}
            current={answer}
          />
        )}
        {choices.length === 0 && !loaded && <span className="skeleton skeleton-chip" aria-hidden="true" />}
      </div>
      {pending ? (
        <p className="field-reason field-pending" role="status">
          <LoaderCircle aria-hidden="true" className="spinning" />
          {pending.phase === "sending" ? "Saving…" : "Saved. Waiting for it to come round…"}
        </p>
      ) : (
        answer && (
          <p className="field-reason">
            {answer.reason && <bdi>{answer.reason}</bdi>}
            <Source answer={answer} />
          </p>
        )
      )}
    </div>
  );
}

function Source({ answer }: { answer: Answer }) {
  // A person's answer is signed where a plugin's says how sure it is.
  if (answer.source === "human" || answer.plugin === "") return null;
  return (
    <span
      className="source"
      title={
        answer.fallbackFor
          ? `The plugin that answered in place of ${answer.fallbackFor}, and its version`
          : "The plugin that answered, and its version"
      }
    >
      <Workflow aria-hidden="true" />
      <bdi>
        {answer.plugin}
        {answer.version && `@${answer.version}`}
        {answer.fallbackFor && ` in place of ${answer.fallbackFor}`}
      </bdi>
    </span>
  );
}
