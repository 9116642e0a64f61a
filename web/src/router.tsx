import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";
import { FILTER_NAMES, type Filters } from "./api/client";
import { ChallengerPage } from "./challenger/challenger-page";
import { IssueRoute } from "./issue/issue-route";
import { RepositoryRoute } from "./repository/repository-page";
import { Unknown } from "./shell/unknown";
import { WorkspaceLayout } from "./shell/workspace";
import { SystemPage } from "./system/system-page";

/** Keeps of a URL's query what narrows the list; everything else in it is dropped. */
function validateFilters(search: Record<string, unknown>): Filters {
  const filters: Filters = {};
  for (const name of FILTER_NAMES) {
    const value = search[name];
    if (typeof value === "string" && value !== "") filters[name] = value.slice(0, 200);
  }
  return filters;
}

const rootRoute = createRootRoute({
  component: WorkspaceLayout,
  validateSearch: validateFilters,
  notFoundComponent: Unknown,
});

const indexRoute = createRoute({ getParentRoute: () => rootRoute, path: "/" });

const issueRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/issues/$issueId",
  component: IssueRoute,
});

const repositoryRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/repositories/$repositoryId",
  component: RepositoryRoute,
});

const challengerRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/challenger",
  component: ChallengerPage,
});

const systemRoute = createRoute({ getParentRoute: () => rootRoute, path: "/system", component: SystemPage });

/** Plain query strings (`?category=bug&q=7`), not the JSON that the router would write. */
export const router = createRouter({
  routeTree: rootRoute.addChildren([indexRoute, issueRoute, repositoryRoute, challengerRoute, systemRoute]),
  parseSearch: (search) => Object.fromEntries(new URLSearchParams(search)),
  stringifySearch: (search) => {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(search as Record<string, unknown>)) {
      if (typeof value === "string" && value !== "") query.set(name, value);
    }
    const text = query.toString();
    return text && `?${text}`;
  },
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
  interface HistoryState {
    /** The focus stays where it is, instead of going to the issue's title. */
    keepFocus?: boolean;
  }
}
