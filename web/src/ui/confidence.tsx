import { UserCheck } from "lucide-react";
import type { Answer } from "../api/issue";

/** What a probability means to somebody who has to decide whether to check. */
export function confidenceWord(confidence: number): { word: string; level: "high" | "fair" | "low" } {
  if (confidence >= 0.9) return { word: "very sure", level: "high" };
  if (confidence >= 0.7) return { word: "fairly sure", level: "fair" };
  if (confidence >= 0.5) return { word: "unsure", level: "low" };
  return { word: "guessing", level: "low" };
}

/** How sure a plugin is of its answer; of a human's answer, whose it is. */
export function Confidence({ answer }: { answer: Answer }) {
  if (answer.source === "human") {
    return (
      <span className="confidence confidence-human" title="Set by a person">
        <UserCheck aria-hidden="true" />
        <span className="confidence-word">
          by <bdi>{answer.actor || "a person"}</bdi>
        </span>
      </span>
    );
  }
  const percent = Math.round(answer.confidence * 100);
  const { word, level } = confidenceWord(answer.confidence);
  return (
    <span
      className="confidence"
      data-level={level}
      role="meter"
      aria-label="Confidence"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
      aria-valuetext={`${percent} percent, ${word}`}
      title={`Confidence ${percent}%: the classifier is ${word}`}
    >
      <span className="confidence-track" aria-hidden="true">
        <span className="confidence-fill" style={{ width: `${percent}%` }} />
      </span>
      <span className="confidence-percent" aria-hidden="true">
        {percent}%
      </span>
      <span className="confidence-word" aria-hidden="true">
        {word}
      </span>
    </span>
  );
}
