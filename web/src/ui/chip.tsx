import {
  BookOpen,
  Bug,
  CircleHelp,
  Gauge,
  ShieldAlert,
  Sparkles,
  Tag,
  Wrench,
  type LucideIcon,
} from "lucide-react";
import type { Field } from "../api/issue";

interface Look {
  tone: string;
  icon: LucideIcon;
}

const CATEGORY_LOOKS = new Map<string, Look>(
  Object.entries({
    bug: { tone: "red", icon: Bug },
    feature: { tone: "violet", icon: Sparkles },
    question: { tone: "pink", icon: CircleHelp },
    documentation: { tone: "blue", icon: BookOpen },
    security: { tone: "orange", icon: ShieldAlert },
    performance: { tone: "teal", icon: Gauge },
    maintenance: { tone: "gray", icon: Wrench },
  }),
);

/** A repository may have categories of its own; they look alike, and say their name. */
export function categoryLook(value: string): Look {
  return CATEGORY_LOOKS.get(value) ?? { tone: "gray", icon: Tag };
}

const PRIORITY_LEVELS = new Map([
  ["critical", 4],
  ["high", 3],
  ["medium", 2],
  ["low", 1],
]);
const PRIORITY_TONES = ["gray", "gray", "yellow", "orange", "red"];

export function priorityTone(value: string): string {
  return PRIORITY_TONES[PRIORITY_LEVELS.get(value) ?? 0] ?? "gray";
}

function PriorityBars({ value }: { value: string }) {
  const level = PRIORITY_LEVELS.get(value) ?? 0;
  return (
    <svg className="bars" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">
      {[0, 1, 2, 3].map((i) => (
        <rect
          key={i}
          x={i * 3.6}
          y={9 - i * 2.8}
          width="2.6"
          height={4 + i * 2.8}
          rx="0.9"
          className={i < level ? "bars-on" : "bars-off"}
        />
      ))}
    </svg>
  );
}

/** A field's value; known categories and priorities have a colour and a shape of their own. */
export function Chip({ field, value }: { field: Field; value: string }) {
  if (field === "category") {
    const { tone, icon: Icon } = categoryLook(value);
    return (
      <span className="chip" data-tone={tone}>
        <Icon aria-hidden="true" />
        <bdi>{value}</bdi>
      </span>
    );
  }
  if (field === "priority") {
    return (
      <span className="chip" data-tone={priorityTone(value)}>
        <PriorityBars value={value} />
        <bdi>{value}</bdi>
      </span>
    );
  }
  return (
    <span className="chip">
      <bdi>{value}</bdi>
    </span>
  );
}

/** A label of the repository, with its colour as a dot, so that its name stays readable on any ground. */
export function LabelChip({ name, color }: { name: string; color: string | undefined }) {
  return (
    <span className="label-chip" title={name}>
      <span
        className="label-dot"
        style={color && /^[0-9a-f]{6}$/i.test(color) ? { backgroundColor: `#${color}` } : undefined}
      />
      <bdi>{name}</bdi>
    </span>
  );
}
