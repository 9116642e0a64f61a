import * as Popover from "@radix-ui/react-popover";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ChevronDown, Search, X } from "lucide-react";
import { useEffect, useEffectEvent, useRef, useState } from "react";
import type { Filters } from "../api/client";
import type { Field, Repository } from "../api/issue";
import { queryKeys } from "../live/feed";
import { useFeed } from "../shell/context";
import { useStats } from "../shell/header";
import { useShortcuts } from "../shell/shortcuts";
import { OptionList, type ListedOption } from "../ui/option-list";

const SEARCH_DELAY_MS = 250;

export function useRepositories() {
  const { client } = useFeed();
  return useQuery({ queryKey: queryKeys.repositories, queryFn: ({ signal }) => client.repositories(signal) });
}

const STATUSES: ListedOption[] = [
  { value: "received", description: "Waiting for its classification" },
  { value: "classified", description: "As a plugin classified it" },
  { value: "corrected", description: "A person has changed at least one field" },
];

/** What narrows the list; all of it stands in the address, so that a view can be shared. */
export function Toolbar({ filters }: { filters: Filters }) {
  const navigate = useNavigate();
  const repositories = useRepositories().data ?? [];
  const stats = useStats().data;
  const set = (name: keyof Filters, value: string) => {
    void navigate({ to: ".", search: { ...filters, [name]: value } });
  };
  const inScope = filters.repository
    ? repositories.filter((repository) => repository.fullName === filters.repository)
    : repositories;
  const active = Object.values(filters).filter(Boolean).length;
  return (
    <div className="toolbar" role="search" aria-label="Narrow the list">
      <SearchBox words={filters.q ?? ""} onSearch={(q) => set("q", q)} />
      <div className="filters">
        <FilterMenu
          name="Repository"
          value={filters.repository}
          options={repositories.map((repository) => ({ value: repository.fullName }))}
          onChange={(value) => set("repository", value)}
        />
        <FilterMenu
          name="Category"
          value={filters.category}
          options={valuesOf("category", inScope, stats?.byCategory)}
          onChange={(value) => set("category", value)}
        />
        <FilterMenu
          name="Priority"
          value={filters.priority}
          options={valuesOf("priority", inScope, stats?.byPriority)}
          onChange={(value) => set("priority", value)}
        />
        <FilterMenu
          name="Status"
          value={filters.status}
          options={STATUSES}
          onChange={(value) => set("status", value)}
        />
        {active > 1 && (
          <button
            type="button"
            className="link-button"
            onClick={() => void navigate({ to: ".", search: {} })}
          >
            Clear all
          </button>
        )}
      </div>
    </div>
  );
}

/** Every value some repository offers or some issue has. */
function valuesOf(
  field: Field,
  repositories: readonly Repository[],
  counts: Record<string, number> = {},
): ListedOption[] {
  const values = new Set<string>();
  for (const repository of repositories) {
    for (const option of repository.options[field] ?? []) values.add(option.value);
  }
  for (const value of Object.keys(counts)) values.add(value);
  return [...values].map((value) => {
    const count = Object.hasOwn(counts, value) ? counts[value] : undefined;
    return count === undefined ? { value } : { value, note: String(count) };
  });
}

function SearchBox({ words, onSearch }: { words: string; onSearch: (words: string) => void }) {
  const [typed, setTyped] = useState(words);
  const [known, setKnown] = useState(words);
  const input = useRef<HTMLInputElement>(null);
  if (known !== words) {
    // The address changed otherwise: by the back button, or by clearing all filters.
    setKnown(words);
    setTyped(words);
  }
  const search = useEffectEvent((value: string) => onSearch(value));
  useEffect(() => {
    const value = typed.trim();
    if (value === known.trim()) return;
    const timer = setTimeout(() => search(value), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [typed, known]);
  useShortcuts({ "/": () => input.current?.focus() });
  return (
    <div className="search-box">
      <Search aria-hidden="true" />
      <input
        ref={input}
        type="search"
        aria-label="Search issues"
        placeholder="Search issues"
        maxLength={200}
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          if (typed === "") input.current?.blur();
          else setTyped("");
          event.preventDefault();
        }}
      />
      {typed === "" ? (
        <kbd aria-hidden="true">/</kbd>
      ) : (
        <button
          type="button"
          className="icon-button"
          aria-label="Clear the search"
          onClick={() => {
            setTyped("");
            input.current?.focus();
          }}
        >
          <X aria-hidden="true" />
        </button>
      )}
    </div>
  );
}

function FilterMenu({
  name,
  value,
  options,
  onChange,
}: {
  name: string;
  value: string | undefined;
  options: ListedOption[];
  onChange: (value: string) => void;
}) {
  const [open, setOpen] = useState(false);
  const offered =
    value && !options.some((option) => option.value === value) ? [{ value }, ...options] : options;
  return (
    <span className="filter" data-active={value ? "" : undefined}>
      <Popover.Root open={open} onOpenChange={setOpen}>
        <Popover.Trigger className="filter-button">
          {name}
          {value && (
            <>
              : <bdi>{value}</bdi>
            </>
          )}
          {!value && <ChevronDown aria-hidden="true" />}
        </Popover.Trigger>
        <Popover.Portal>
          <Popover.Content
            className="popover"
            align="start"
            sideOffset={6}
            collisionPadding={8}
            aria-label={`${name} to show`}
          >
            <OptionList
              label={name}
              options={[{ value: "", name: `Any ${name.toLowerCase()}` }, ...offered]}
              selected={[value ?? ""]}
              onPick={(picked) => {
                setOpen(false);
                onChange(picked);
              }}
            />
          </Popover.Content>
        </Popover.Portal>
      </Popover.Root>
      {value && (
        <button
          type="button"
          className="filter-clear"
          aria-label={`Any ${name.toLowerCase()}`}
          onClick={() => onChange("")}
        >
          <X aria-hidden="true" />
        </button>
      )}
    </span>
  );
}
