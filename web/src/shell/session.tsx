import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { KeyRound, Workflow } from "lucide-react";
import { useCallback, useEffect, useId, useMemo, useState, type ReactNode, type SubmitEvent } from "react";
import { ApiClient, ApiError, explain } from "../api/client";
import type { Session } from "../api/issue";
import { LiveFeed } from "../live/feed";
import { Failure, Skeleton } from "../ui/states";
import { PageContext, type Page } from "./context";

const TOKEN_KEY = "dispatchai.token";

/** The token lives as long as the tab, so that a shared machine does not keep it. */
function storedToken(): string {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? "";
  } catch {
    return "";
  }
}

function storeToken(token: string): void {
  try {
    if (token === "") sessionStorage.removeItem(TOKEN_KEY);
    else sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // It then lasts until the page is reloaded.
  }
}

export function newQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        // The stream says what is stale; and a server on this machine answers without a network.
        staleTime: Infinity,
        networkMode: "always",
        refetchOnWindowFocus: false,
        refetchOnReconnect: false,
        retry: (failures, error) =>
          failures < 2 && error instanceof ApiError && (error.status === 0 || error.status >= 500),
      },
      mutations: { networkMode: "always" },
    },
  });
}

/** Finds out who may see the page, asks for a token where one is needed, and then shows the page. */
export function SessionGate({ children }: { children: ReactNode }) {
  const [queries] = useState(newQueryClient);
  return (
    <QueryClientProvider client={queries}>
      <Gate queries={queries}>{children}</Gate>
    </QueryClientProvider>
  );
}

function Gate({ queries, children }: { queries: QueryClient; children: ReactNode }) {
  const [token, setToken] = useState(storedToken);
  const [expired, setExpired] = useState(false);
  const leave = useCallback(
    (wasExpired: boolean) => {
      storeToken("");
      setToken("");
      setExpired(wasExpired);
      queries.removeQueries({ predicate: (query) => query.queryKey[0] !== "session" });
      void queries.invalidateQueries({ queryKey: ["session"] });
    },
    [queries],
  );
  const client = useMemo(() => {
    const made = new ApiClient(() => leave(true));
    made.setToken(token);
    return made;
  }, [token, leave]);
  const session = useQuery({
    queryKey: ["session", token],
    queryFn: ({ signal }) => client.session(token, signal),
    retry: 2,
  });

  if (session.isPending) {
    return (
      <main className="gate" aria-busy="true" aria-label="Connecting to the server">
        <Skeleton lines={4} />
      </main>
    );
  }
  if (session.isError) {
    return (
      <main className="gate">
        <Failure
          what="The server does not answer"
          error={session.error}
          retry={() => void session.refetch()}
        />
      </main>
    );
  }
  if (!session.data.authenticated) {
    return (
      <TokenPrompt
        expired={expired || token !== ""}
        check={(candidate) => client.session(candidate)}
        accept={(accepted) => {
          storeToken(accepted);
          setExpired(false);
          setToken(accepted);
        }}
      />
    );
  }
  return (
    <SignedIn
      key={token}
      client={client}
      queries={queries}
      token={token}
      session={session.data}
      leave={leave}
    >
      {children}
    </SignedIn>
  );
}

function SignedIn({
  client,
  queries,
  token,
  session,
  leave,
  children,
}: {
  client: ApiClient;
  queries: QueryClient;
  token: string;
  session: Session;
  leave: (expired: boolean) => void;
  children: ReactNode;
}) {
  const feed = useMemo(
    () =>
      new LiveFeed(client, queries, token, () => {
        client.session().then(
          (now) => {
            if (!now.authenticated) leave(true);
          },
          () => undefined, // The server is away; the connection says so.
        );
      }),
    [client, queries, token, leave],
  );
  useEffect(() => () => feed.stop(), [feed]);
  const page = useMemo<Page>(
    () => ({ feed, session, signOut: token === "" ? undefined : () => leave(false) }),
    [feed, session, token, leave],
  );
  return <PageContext value={page}>{children}</PageContext>;
}

/** Asks for the access token, and tries it before it is kept. */
export function TokenPrompt({
  expired,
  check,
  accept,
}: {
  expired: boolean;
  check: (token: string) => Promise<Session>;
  accept: (token: string) => void;
}) {
  const [value, setValue] = useState("");
  const [checking, setChecking] = useState(false);
  const [fault, setFault] = useState(expired ? "The token used so far is no longer accepted." : "");
  const inputId = useId();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const candidate = value.trim();
    if (candidate === "") {
      setFault("Enter the token.");
      return;
    }
    setChecking(true);
    setFault("");
    try {
      const session = await check(candidate);
      if (session.authenticated) accept(candidate);
      else setFault("The server did not accept this token.");
    } catch (error) {
      setFault(
        error instanceof ApiError && error.status === 401
          ? "The server did not accept this token."
          : explain(error),
      );
    } finally {
      setChecking(false);
    }
  };
  return (
    <main className="gate">
      <form className="token-form" onSubmit={(event) => void submit(event)}>
        <span className="brand-mark">
          <Workflow aria-hidden="true" />
        </span>
        <h1>DispatchAI</h1>
        <p>
          This server asks for an access token. It is the value of <code>DISPATCHAI_API_TOKEN</code> that the
          server was started with, and is kept in this tab only.
        </p>
        <label htmlFor={inputId}>Access token</label>
        <div className="token-row">
          <KeyRound aria-hidden="true" />
          <input
            id={inputId}
            type="password"
            autoComplete="off"
            spellCheck={false}
            autoFocus
            value={value}
            aria-invalid={fault !== ""}
            aria-describedby={fault ? `${inputId}-fault` : undefined}
            onChange={(event) => setValue(event.target.value)}
          />
        </div>
        {fault && (
          <p className="fault" id={`${inputId}-fault`} role="alert">
            {fault}
          </p>
        )}
        <button type="submit" className="button button-primary" disabled={checking}>
          {checking ? "Checking…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
