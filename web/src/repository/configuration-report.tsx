import type { ReactNode } from "react";
import type { ConfigFault, Configuration, ConfigurationState, Settings } from "../api/configuration";
import { Age } from "../ui/time";

const STATES: Record<ConfigurationState, { word: string; tone: string; meaning: string }> = {
  unread: {
    word: "not read yet",
    tone: "gray",
    meaning: "Nothing is written on GitHub before the repository's files were read: they may forbid it.",
  },
  in_force: { word: "in force", tone: "green", meaning: "What the repository's files say is in force." },
  faulty: {
    word: "faulty",
    tone: "red",
    meaning: "The files have faults. What they said before stays in force until they are mended.",
  },
  guarded: {
    word: "on hold",
    tone: "red",
    meaning:
      "The files have had faults since they were first read. Nothing is written on GitHub until they are mended.",
  },
};

const ACCESS: Record<string, string> = {
  contents: "every file; pushes are heard of at once",
  file: "the configuration file alone, looked at once a minute",
  none: "no file; the defaults are in force",
};

/** A repository's configuration: how it stands, what is wrong, and what is in force. */
export function ConfigurationReport({ configuration }: { configuration: Configuration }) {
  return (
    <>
      <Standing configuration={configuration} />
      <Faults title="Faults" faults={configuration.faults} tone="red" />
      <Faults
        title="Labels that do not fit"
        note="The configuration is in force, but what these speak of is not written."
        faults={configuration.labelFaults}
        tone="yellow"
      />
      <InForce settings={configuration.settings} issueTypes={configuration.issueTypes} />
      <Workflows reacting={configuration.reacting} notes={configuration.notes} />
    </>
  );
}

function Standing({ configuration }: { configuration: Configuration }) {
  const state = STATES[configuration.state];
  return (
    <section className="card" aria-label="Configuration">
      <h2 className="card-title">
        <span>Configuration</span>
        <span className="chip" data-tone={state.tone} data-testid="configuration-state">
          {state.word}
        </span>
      </h2>
      <p className="settings-meaning">{state.meaning}</p>
      <dl className="settings">
        <Row name="Comes from">
          {configuration.sources.map((source) => (
            <span key={source.name} className="settings-source">
              <bdi>{source.name}</bdi>
              {source.commit && <code title={source.commit}>{source.commit.slice(0, 7)}</code>}
            </span>
          ))}
          {configuration.sources.length === 0 && "the defaults; no file is in force"}
        </Row>
        {configuration.inForceSince && (
          <Row name="In force since">
            <Age at={configuration.inForceSince} />
          </Row>
        )}
        {configuration.checkedAt && (
          <Row name="Checked">
            <Age at={configuration.checkedAt} />
          </Row>
        )}
        {configuration.access && (
          <Row name="DispatchAI may read">{ACCESS[configuration.access] ?? configuration.access}</Row>
        )}
      </dl>
      {configuration.error && (
        <p className="settings-error" role="status">
          The last attempt to read the files failed: <bdi>{configuration.error}</bdi>
        </p>
      )}
    </section>
  );
}

function Faults({
  title,
  note,
  faults,
  tone,
}: {
  title: string;
  note?: string;
  faults: readonly ConfigFault[];
  tone: string;
}) {
  if (faults.length === 0) return null;
  return (
    <section className="card" aria-label={title}>
      <h2 className="card-title">
        <span>{title}</span>
        <span className="chip" data-tone={tone}>
          {faults.length}
        </span>
      </h2>
      {note && <p className="settings-meaning">{note}</p>}
      <ul className="fault-list">
        {faults.map((fault, i) => (
          <li key={i} data-testid="fault">
            <p className="fault-place">
              {fault.file && <bdi>{fault.file}</bdi>}
              {fault.line > 0 && (
                <span>
                  line {fault.line}, column {fault.column}
                </span>
              )}
              {fault.path && (
                <code>
                  <bdi>{fault.path}</bdi>
                </code>
              )}
            </p>
            <p>
              <bdi>{fault.message}</bdi>
            </p>
          </li>
        ))}
      </ul>
    </section>
  );
}

function InForce({ settings, issueTypes }: { settings: Settings; issueTypes: readonly string[] }) {
  return (
    <section className="card" aria-label="What is in force">
      <h2 className="card-title">What is in force</h2>
      <dl className="settings">
        <Row name="Mode">
          <Value>{settings.mode}</Value>
          {settings.modes.map(([field, mode]) => (
            <Value key={field}>
              {field}: {mode}
            </Value>
          ))}
        </Row>
        <Row name="Classifiers">
          {settings.classifiers.map((c) => (
            <Value key={c.name}>
              {c.name}
              {c.fields.length > 0 && ` (${c.fields.join(", ")})`}
            </Value>
          ))}
          {settings.classifiers.length === 0 && "the server's"}
        </Row>
        <Row name="Thresholds">
          {settings.thresholds.map(([field, least]) => (
            <Value key={field}>
              {field}: {Math.round(least * 100)}%
            </Value>
          ))}
          {settings.thresholds.length === 0 && "the defaults"}
        </Row>
        <Row name="Mapped labels">
          {settings.mapped.map((m) => (
            <Value key={`${m.field} ${m.value}`}>
              {m.field} {m.value} → {m.labels.join(", ") || "none"}
            </Value>
          ))}
          {settings.mapped.length === 0 && "none; labels are understood by their names"}
        </Row>
        <Patterns name="Never written" of={settings.never} />
        <Patterns name="Written all the same" of={settings.allow} />
        <Patterns name="Not understood" of={settings.ignore} />
        <Row name="Labels on one issue">at most {settings.limit}</Row>
        <Patterns name="Own rules" of={settings.rules} />
        <Patterns name="Authors left alone" of={settings.skipAuthors} />
        <Patterns name="Labels left alone" of={settings.skipLabels} />
        {settings.setsTypes && (
          <Row name="Issue types">
            {issueTypes.map((type) => (
              <Value key={type}>{type}</Value>
            ))}
            {issueTypes.length === 0 && "none that the App can see"}
          </Row>
        )}
        <Row name="Classified again on">
          {settings.retriage.map((what) => (
            <Value key={what}>{what}</Value>
          ))}
          {settings.retriage.length === 0 && "request only"}
        </Row>
        <Row name="Commands in comments">{settings.commands ? "obeyed" : "not obeyed"}</Row>
        {settings.asksForAnswers && <Row name="Missing answers">asked for, in one comment</Row>}
        <Row name="Faults as check runs">{settings.checks ? "shown" : "not shown"}</Row>
      </dl>
    </section>
  );
}

function Workflows({ reacting, notes }: { reacting: readonly string[]; notes: readonly string[] }) {
  if (reacting.length === 0 && notes.length === 0) return null;
  return (
    <section className="card" aria-label="Workflows">
      <h2 className="card-title">Workflows</h2>
      {reacting.length > 0 && (
        <dl className="settings">
          <Patterns name="React to labels" of={reacting} />
        </dl>
      )}
      {reacting.length > 0 && (
        <p className="settings-meaning">These are not written unless the configuration allows it.</p>
      )}
      {notes.map((note) => (
        <p key={note} className="settings-meaning">
          <bdi>{note}</bdi>
        </p>
      ))}
    </section>
  );
}

function Patterns({ name, of }: { name: string; of: readonly string[] }) {
  if (of.length === 0) return null;
  return (
    <Row name={name}>
      {of.map((pattern) => (
        <Value key={pattern}>{pattern}</Value>
      ))}
    </Row>
  );
}

function Row({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Value({ children }: { children: ReactNode }) {
  return (
    <span className="tag">
      <bdi>{children}</bdi>
    </span>
  );
}
