import { useCallback, useState } from "react";

/** Reads a preference of this browser; storage may be forbidden, and then nothing is kept. */
export function readPreference(name: string): string {
  try {
    return localStorage.getItem(`dispatchai.${name}`) ?? "";
  } catch {
    return "";
  }
}

function writePreference(name: string, value: string): void {
  try {
    if (value === "") localStorage.removeItem(`dispatchai.${name}`);
    else localStorage.setItem(`dispatchai.${name}`, value);
  } catch {
    // It then holds until the page is left.
  }
}

/** A preference that outlives the page. */
export function usePreference(name: string): [string, (value: string) => void] {
  const [value, setValue] = useState(() => readPreference(name));
  const set = useCallback(
    (next: string) => {
      setValue(next);
      writePreference(name, next);
    },
    [name],
  );
  return [value, set];
}
