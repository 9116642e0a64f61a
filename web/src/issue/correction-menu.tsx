import * as Popover from "@radix-ui/react-popover";
import { Pencil } from "lucide-react";
import { useId, useState } from "react";
import { explain } from "../api/client";
import { isMultiple, type Answer, type Field, type Option } from "../api/issue";
import type { ShownIssue } from "../live/board";
import { useFeed, useWorkspace } from "../shell/context";
import { usePreference } from "../shell/preference";
import { useNotify } from "../ui/notices";
import { OptionList, type ListedOption } from "../ui/option-list";
import { correctIssue } from "./correct";

const MAX_REASON = 500;
/** Stands for "no value" among the options; no repository can have it as a value. */
const NONE = "";

/** The button beside a field, and the menu of what the repository lets it be. */
export function CorrectionMenu(props: {
  issue: ShownIssue;
  field: Field;
  name: string;
  choices: readonly Option[];
  current: Answer | undefined;
}) {
  const { issue, field, name, current } = props;
  const { correcting, setCorrecting } = useWorkspace();
  const busy = issue.pending[field] !== undefined;
  const open = !busy && correcting?.issueId === issue.id && correcting.field === field;
  const verb = current === undefined ? "Set" : "Correct";
  return (
    <Popover.Root
      open={open}
      onOpenChange={(next) => setCorrecting(next && !busy ? { issueId: issue.id, field } : null)}
    >
      <Popover.Trigger
        className="button button-small"
        data-testid={`correct-${field}`}
        aria-label={`${verb} ${name.toLowerCase()}`}
        // Not `disabled`, which would lose the focus that comes back to it.
        aria-disabled={busy}
      >
        <Pencil aria-hidden="true" /> {verb}
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          className="popover correction"
          align="end"
          sideOffset={6}
          collisionPadding={8}
          aria-label={`Correct ${name.toLowerCase()}`}
        >
          <CorrectionForm {...props} close={() => setCorrecting(null)} />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function CorrectionForm({
  issue,
  field,
  name,
  choices,
  current,
  close,
}: {
  issue: ShownIssue;
  field: Field;
  name: string;
  choices: readonly Option[];
  current: Answer | undefined;
  close: () => void;
}) {
  const feed = useFeed();
  const notify = useNotify();
  const { setCorrecting } = useWorkspace();
  const formId = useId();
  const multiple = isMultiple(field);
  const before = current?.values ?? [];
  const [values, setValues] = useState<string[]>(before);
  const [touched, setTouched] = useState(false);
  const [reason, setReason] = useState("");
  const [actor, setActor] = usePreference("actor");

  const options: ListedOption[] = choices.map((choice) => ({
    value: choice.value,
    ...(choice.label && choice.label !== choice.value ? { note: choice.label } : {}),
    ...(choice.description ? { description: choice.description } : {}),
  }));
  // What stands there now may be something the repository no longer offers.
  for (const value of before) {
    if (!choices.some((choice) => choice.value === value)) options.push({ value });
  }
  if (!multiple) options.push({ value: NONE, name: "none", description: "The field does not apply" });

  const changed =
    values.length !== before.length ||
    values.some((value) => !before.includes(value)) ||
    (touched && current === undefined);
  const save = (wanted: string[]) => {
    close();
    const wish = { field, values: wanted, reason: reason.trim(), actor: actor.trim() };
    const where = `${name} of #${issue.number}`;
    correctIssue(feed, issue.id, wish, () =>
      notify({ kind: "info", text: `${where}: saved, and on its way.` }),
    ).then(
      (outcome) =>
        notify(
          outcome === "corrected"
            ? { kind: "success", text: `${where} is now ${wanted.join(", ") || "empty"}.` }
            : {
                kind: "info",
                text: `${where}: the correction is stored, but its result has not come back yet. It will appear here on its own.`,
              },
        ),
      (error: unknown) =>
        notify({
          kind: "error",
          text: `${where} was not changed. ${explain(error)}`,
          action: { label: "Choose again", run: () => setCorrecting({ issueId: issue.id, field }) },
        }),
    );
  };
  const pick = (value: string, how: "enter" | "click") => {
    setTouched(true);
    if (multiple) {
      setValues((now) => (now.includes(value) ? now.filter((v) => v !== value) : [...now, value]));
      return;
    }
    const wanted = value === NONE ? [] : [value];
    setValues(wanted);
    if (how === "click") return;
    const same =
      current !== undefined && wanted.length === before.length && wanted.every((v) => before.includes(v));
    if (same) close();
    else save(wanted);
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (changed) save(values);
      }}
    >
      <OptionList
        label={`${name} of #${issue.number}`}
        options={options}
        selected={values.length === 0 && !multiple && (current !== undefined || touched) ? [NONE] : values}
        multiple={multiple}
        onPick={pick}
        onSubmit={() => {
          if (changed) save(values);
        }}
      />
      <div className="correction-more">
        <label htmlFor={`${formId}-reason`}>Reason</label>
        <input
          id={`${formId}-reason`}
          className="input"
          type="text"
          placeholder="Optional: why is this right?"
          maxLength={MAX_REASON}
          autoComplete="off"
          value={reason}
          onChange={(event) => setReason(event.target.value)}
        />
        <label htmlFor={`${formId}-actor`}>Signed</label>
        <input
          id={`${formId}-actor`}
          className="input"
          type="text"
          placeholder="Your name, optional"
          maxLength={100}
          value={actor}
          onChange={(event) => setActor(event.target.value)}
        />
      </div>
      <footer className="correction-foot">
        <span className="hint">
          {multiple ? (
            <>
              <kbd>Enter</kbd> picks, <kbd>Ctrl Enter</kbd> saves
            </>
          ) : (
            <>
              <kbd>Enter</kbd> saves
            </>
          )}
        </span>
        <button type="button" className="button button-quiet" onClick={close}>
          Cancel
        </button>
        <button
          type="submit"
          className="button button-primary"
          data-testid="correction-save"
          disabled={!changed}
        >
          Save
        </button>
      </footer>
    </form>
  );
}
