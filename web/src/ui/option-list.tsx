import { Check, Search } from "lucide-react";
import { useEffect, useId, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

export interface ListedOption {
  value: string;
  /** What is shown beside the value, such as the label it stands for. */
  note?: string;
  description?: string;
  icon?: ReactNode;
  /** Spoken and shown instead of the value. */
  name?: string;
}

/** The options that the words are found in: first where a name begins with them, last where only the description has them. */
export function narrow(options: readonly ListedOption[], words: string): ListedOption[] {
  const needle = words.trim().toLowerCase();
  const ranked = options.map((option) => {
    const name = (option.name ?? option.value).toLowerCase();
    if (name.startsWith(needle)) return { option, rank: 0 };
    if (name.includes(needle)) return { option, rank: 1 };
    if (option.note?.toLowerCase().includes(needle)) return { option, rank: 2 };
    return { option, rank: option.description?.toLowerCase().includes(needle) ? 3 : 4 };
  });
  return ranked
    .filter(({ rank }) => rank < 4)
    .sort((a, b) => a.rank - b.rank)
    .map(({ option }) => option);
}

/** How an option was picked: with Enter one means it, with a click one may still look around. */
export type Pick = "enter" | "click";

/**
 * A list of options with a box that narrows it: type, arrow keys, Enter.
 * The box keeps the focus all the while, as the combobox pattern asks.
 */
export function OptionList({
  label,
  options,
  selected,
  multiple = false,
  onPick,
  onSubmit,
}: {
  label: string;
  options: readonly ListedOption[];
  selected: readonly string[];
  multiple?: boolean;
  onPick: (value: string, how: Pick) => void;
  /** Called on Ctrl+Enter or Cmd+Enter. */
  onSubmit?: () => void;
}) {
  const listId = useId();
  const [words, setWords] = useState("");
  const found = narrow(options, words);
  const [active, setActive] = useState(() =>
    Math.max(
      0,
      options.findIndex((option) => selected.includes(option.value)),
    ),
  );
  const current = Math.min(active, found.length - 1);
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    const option = list.current?.children.item(current);
    option?.scrollIntoView({ block: "nearest" });
  }, [current]);

  const onKeyDown = (event: KeyboardEvent) => {
    const last = found.length - 1;
    if (event.key === "ArrowDown") setActive(current >= last ? 0 : current + 1);
    else if (event.key === "ArrowUp") setActive(current <= 0 ? last : current - 1);
    else if (event.key === "Home" && words === "") setActive(0);
    else if (event.key === "End" && words === "") setActive(last);
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) onSubmit?.();
    else if (event.key === "Enter") {
      const option = found[current];
      if (option) onPick(option.value, "enter");
    } else return;
    event.preventDefault();
  };

  return (
    <div className="option-list">
      <div className="option-search">
        <Search aria-hidden="true" />
        <input
          type="text"
          role="combobox"
          aria-label={label}
          aria-expanded="true"
          aria-autocomplete="list"
          aria-controls={listId}
          aria-activedescendant={current >= 0 ? `${listId}-${current}` : undefined}
          placeholder="Type to narrow"
          autoComplete="off"
          spellCheck={false}
          value={words}
          onChange={(event) => {
            setWords(event.target.value);
            setActive(0);
          }}
          onKeyDown={onKeyDown}
        />
      </div>
      <ul
        ref={list}
        id={listId}
        role="listbox"
        aria-label={label}
        aria-multiselectable={multiple || undefined}
      >
        {found.map((option, index) => {
          const chosen = selected.includes(option.value);
          return (
            // Keys go to the box, which moves the active option.
            <li
              key={option.value}
              id={`${listId}-${index}`}
              role="option"
              aria-selected={chosen}
              data-value={option.value}
              aria-description={[option.note, option.description].filter(Boolean).join(": ") || undefined}
              data-active={index === current || undefined}
              onPointerMove={() => setActive(index)}
              onClick={() => onPick(option.value, "click")}
            >
              <span className="option-check">{chosen && <Check aria-hidden="true" />}</span>
              {option.icon}
              <span className="option-text">
                <bdi className="option-name">{option.name ?? option.value}</bdi>
                {option.description && (
                  <bdi className="option-description" aria-hidden="true">
                    {option.description}
                  </bdi>
                )}
              </span>
              {option.note && (
                <bdi className="option-note" aria-hidden="true">
                  {option.note}
                </bdi>
              )}
            </li>
          );
        })}
      </ul>
      {found.length === 0 && <p className="option-none">Nothing matches “{words}”.</p>}
    </div>
  );
}
