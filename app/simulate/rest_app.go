package simulate

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// routeAll lists the whole API. A new endpoint is a line here and a function.
func (g *GitHub) routeAll() {
	issuesRead := []need{{"issues", "read"}, {"pull_requests", "read"}}
	issuesWrite := []need{{"issues", "write"}, {"pull_requests", "write"}}
	metadata := []need{{"metadata", "read"}}
	contents := []need{{"contents", "read"}}
	fileContents := []need{{"contents", "read"}, {"single_file", "read"}}
	checks := func(level string) []need { return []need{{"checks", level}} }
	const repo = " /repos/{owner}/{repo}"
	for _, rt := range []*route{
		{pattern: "GET /app", access: forApp, docs: "/apps/apps#get-the-authenticated-app", handle: getApp},
		{pattern: "GET /app/installations", access: forApp, docs: "/apps/apps#list-installations-for-the-authenticated-app", handle: listInstallations},
		{pattern: "GET /app/installations/{id}", access: forApp, docs: "/apps/apps#get-an-installation-for-the-authenticated-app", handle: getInstallation},
		{pattern: "DELETE /app/installations/{id}", access: forApp, docs: "/apps/apps#delete-an-installation-for-the-authenticated-app", handle: deleteInstallation},
		{pattern: "POST /app/installations/{id}/access_tokens", access: forApp, docs: "/apps/apps#create-an-installation-access-token-for-an-app", handle: createToken},
		{pattern: "GET" + repo + "/installation", access: forApp, docs: "/apps/apps#get-a-repository-installation-for-the-authenticated-app", handle: getRepositoryInstallation},
		{pattern: "GET /orgs/{org}/installation", access: forApp, docs: "/apps/apps#get-an-organization-installation-for-the-authenticated-app", handle: getAccountInstallation},
		{pattern: "GET /users/{login}/installation", access: forApp, docs: "/apps/apps#get-a-user-installation-for-the-authenticated-app", handle: getAccountInstallation},
		{pattern: "GET /app/hook/config", access: forApp, docs: "/apps/webhooks#get-a-webhook-configuration-for-an-app", handle: getHookConfig},
		{pattern: "PATCH /app/hook/config", access: forApp, docs: "/apps/webhooks#update-a-webhook-configuration-for-an-app", handle: updateHookConfig},
		{pattern: "POST /app-manifests/{code}/conversions", access: forAnyone, docs: "/apps/apps#create-a-github-app-from-a-manifest", handle: convertManifest},
		{pattern: "GET /app/hook/deliveries", access: forApp, docs: "/apps/webhooks#list-deliveries-for-an-app-webhook", handle: listDeliveries},
		{pattern: "GET /app/hook/deliveries/{id}", access: forApp, docs: "/apps/webhooks#get-a-delivery-for-an-app-webhook", handle: getDelivery},
		{pattern: "POST /app/hook/deliveries/{id}/attempts", access: forApp, docs: "/apps/webhooks#redeliver-a-delivery-for-an-app-webhook", handle: redeliver},
		{pattern: "GET /installation/repositories", access: forInstallation, docs: "/apps/installations#list-repositories-accessible-to-the-app-installation", handle: listRepositories},
		{pattern: "DELETE /installation/token", access: forInstallation, docs: "/apps/installations#revoke-an-installation-access-token", handle: revokeToken},
		{pattern: "GET /rate_limit", access: forAnyone, docs: "/rate-limit/rate-limit", handle: getRateLimit},
		{pattern: "GET /meta", access: forAnyone, docs: "/meta/meta#get-apiname-meta-information", handle: getMeta},
		{pattern: "GET /users/{login}", access: forAnyone, docs: "/users/users#get-a-user", handle: getUser},

		{pattern: "GET" + repo, access: forRepository, needs: metadata, docs: "/repos/repos#get-a-repository", handle: getRepository},
		{pattern: "GET" + repo + "/collaborators/{login}/permission", access: forRepository, needs: metadata, docs: "/collaborators/collaborators#get-repository-permissions-for-a-user", handle: getPermission},
		{pattern: "GET" + repo + "/labels", access: forRepository, needs: issuesRead, docs: "/issues/labels#list-labels-for-a-repository", handle: listLabels},
		{pattern: "POST" + repo + "/labels", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/labels#create-a-label", handle: createLabel},
		{pattern: "GET" + repo + "/labels/{name...}", access: forRepository, needs: issuesRead, docs: "/issues/labels#get-a-label", handle: getLabel},
		{pattern: "PATCH" + repo + "/labels/{name...}", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/labels#update-a-label", handle: updateLabel},
		{pattern: "DELETE" + repo + "/labels/{name...}", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/labels#delete-a-label", handle: deleteLabel},

		{pattern: "GET" + repo + "/contents", access: forRepository, needs: contents, docs: "/repos/contents#get-repository-content", handle: getContents},
		{pattern: "GET" + repo + "/contents/{path...}", access: forRepository, needs: fileContents, docs: "/repos/contents#get-repository-content", handle: getContents},
		{pattern: "GET" + repo + "/commits", access: forRepository, needs: contents, docs: "/commits/commits#list-commits", handle: listCommits},
		{pattern: "GET" + repo + "/commits/{ref}", access: forRepository, needs: contents, docs: "/commits/commits#get-a-commit", handle: getCommit},

		{pattern: "POST" + repo + "/check-runs", access: forRepository, needs: checks("write"), content: true, docs: "/checks/runs#create-a-check-run", handle: createCheckRun},
		{pattern: "GET" + repo + "/check-runs/{id}", access: forRepository, needs: checks("read"), docs: "/checks/runs#get-a-check-run", handle: getCheckRun},
		{pattern: "PATCH" + repo + "/check-runs/{id}", access: forRepository, needs: checks("write"), content: true, docs: "/checks/runs#update-a-check-run", handle: updateCheckRun},
		{pattern: "GET" + repo + "/check-runs/{id}/annotations", access: forRepository, needs: checks("read"), docs: "/checks/runs#list-check-run-annotations", handle: listAnnotations},
		{pattern: "GET" + repo + "/commits/{ref}/check-runs", access: forRepository, needs: checks("read"), docs: "/checks/runs#list-check-runs-for-a-git-reference", handle: listCheckRuns},

		{pattern: "GET" + repo + "/issues", access: forRepository, needs: issuesRead, docs: "/issues/issues#list-repository-issues", handle: listIssues},
		{pattern: "POST" + repo + "/issues", access: forRepository, needs: issuesWrite[:1], content: true, docs: "/issues/issues#create-an-issue", handle: createIssue},
		{pattern: "GET" + repo + "/issues/{number}", access: forRepository, needs: issuesRead, docs: "/issues/issues#get-an-issue", handle: getIssue},
		{pattern: "PATCH" + repo + "/issues/{number}", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/issues#update-an-issue", handle: updateIssue},
		{pattern: "GET" + repo + "/issues/{number}/labels", access: forRepository, needs: issuesRead, docs: "/issues/labels#list-labels-for-an-issue", handle: listIssueLabels},
		{pattern: "POST" + repo + "/issues/{number}/labels", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/labels#add-labels-to-an-issue", handle: addIssueLabels},
		{pattern: "PUT" + repo + "/issues/{number}/labels", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/labels#set-labels-for-an-issue", handle: setIssueLabels},
		{pattern: "DELETE" + repo + "/issues/{number}/labels", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/labels#remove-all-labels-from-an-issue", handle: clearIssueLabels},
		{pattern: "DELETE" + repo + "/issues/{number}/labels/{name...}", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/labels#remove-a-label-from-an-issue", handle: removeIssueLabel},
		{pattern: "GET" + repo + "/issues/{number}/suggestions", access: forRepository, needs: issuesWrite[:1], docs: "/issues/issues#list-issue-suggestions", handle: listSuggestions},
		{pattern: "POST" + repo + "/issues/{number}/suggestions/{id}/approve", access: forRepository, needs: issuesWrite[:1], content: true, docs: "/issues/issues#approve-an-issue-suggestion", handle: approveSuggestion},
		{pattern: "POST" + repo + "/issues/{number}/suggestions/{id}/dismiss", access: forRepository, needs: issuesWrite[:1], content: true, docs: "/issues/issues#dismiss-an-issue-suggestion", handle: dismissSuggestion},
		{pattern: "GET" + repo + "/issue-types", access: forRepository, needs: metadata, docs: "/repos/issue-types#list-issue-types-for-a-repository", handle: listRepositoryTypes},
		{pattern: "GET /orgs/{org}/issue-types", access: forInstallation, needs: []need{{"issue_types", "read"}}, docs: "/orgs/issue-types#list-issue-types-for-an-organization", handle: listOrganizationTypes},
		{pattern: "GET" + repo + "/issues/{number}/comments", access: forRepository, needs: issuesRead, docs: "/issues/comments#list-issue-comments", handle: listComments},
		{pattern: "GET" + repo + "/issues/comments", access: forRepository, needs: issuesRead, docs: "/issues/comments#list-issue-comments-for-a-repository", handle: listRepositoryComments},
		{pattern: "POST" + repo + "/issues/{number}/comments", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/comments#create-an-issue-comment", handle: createComment},
		{pattern: "GET" + repo + "/issues/comments/{id}", access: forRepository, needs: issuesRead, docs: "/issues/comments#get-an-issue-comment", handle: getComment},
		{pattern: "PATCH" + repo + "/issues/comments/{id}", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/comments#update-an-issue-comment", handle: updateComment},
		{pattern: "DELETE" + repo + "/issues/comments/{id}", access: forRepository, needs: issuesWrite, content: true, docs: "/issues/comments#delete-an-issue-comment", handle: deleteComment},
		{pattern: "GET" + repo + "/issues/comments/{id}/reactions", access: forRepository, needs: issuesRead, docs: "/reactions/reactions#list-reactions-for-an-issue-comment", handle: listReactions},
		{pattern: "POST" + repo + "/issues/comments/{id}/reactions", access: forRepository, needs: issuesWrite, content: true, docs: "/reactions/reactions#create-reaction-for-an-issue-comment", handle: createReaction},
		{pattern: "DELETE" + repo + "/issues/comments/{id}/reactions/{reaction}", access: forRepository, needs: issuesWrite, content: true, docs: "/reactions/reactions#delete-an-issue-comment-reaction", handle: deleteReaction},
		{pattern: "GET" + repo + "/issues/events", access: forRepository, needs: issuesRead, docs: "/issues/events#list-issue-events-for-a-repository", handle: listRepositoryEvents},
		{pattern: "GET" + repo + "/issues/{number}/events", access: forRepository, needs: issuesRead, docs: "/issues/events#list-issue-events", handle: listEvents},
		{pattern: "GET" + repo + "/issues/{number}/timeline", access: forRepository, needs: issuesRead, docs: "/issues/timeline#list-timeline-events-for-an-issue", handle: listTimeline},
	} {
		g.routes = append(g.routes, rt)
		g.router.add(rt)
	}
	g.routes = append(g.routes, &g.unknown)
}

func getApp(c *call) reply {
	var d document
	d.begin('{')
	object := c.g.asked().object
	d.members(object[1 : len(object)-1])
	c.g.mu.RLock()
	d.num("installations_count", int64(len(c.g.installations)))
	c.g.mu.RUnlock()
	d.end('}')
	return ok(d)
}

func listInstallations(c *call) reply {
	c.g.mu.RLock()
	all := slices.SortedFunc(maps.Values(c.g.installations), func(a, b *installation) int { return cmp.Compare(a.id, b.id) })
	c.g.mu.RUnlock()
	w := c.window(len(all))
	var d document
	d.begin('[')
	for _, inst := range all[w.first:w.last] {
		inst.mu.Lock()
		inst.object(&d, c.g, false)
		inst.mu.Unlock()
	}
	d.end(']')
	return c.listed(w, d)
}

func getInstallation(c *call) reply {
	inst, err := c.g.installation(c.id("id"))
	if err != nil {
		return c.failed(err, "Installation", "id")
	}
	return c.installation(inst)
}

func (c *call) installation(inst *installation) reply {
	var d document
	inst.mu.Lock()
	inst.object(&d, c.g, false)
	inst.mu.Unlock()
	return ok(d)
}

func getRepositoryInstallation(c *call) reply {
	repo, err := c.g.repository(c.path("owner") + "/" + c.path("repo"))
	if err != nil || repo.installation.Load() == nil {
		return notFound()
	}
	return c.installation(repo.installation.Load())
}

func getAccountInstallation(c *call) reply {
	account := c.g.findAccount(c.path("org") + c.path("login"))
	c.g.mu.RLock()
	defer c.g.mu.RUnlock()
	for _, inst := range c.g.installations {
		if account != nil && inst.account == account {
			return c.installation(inst)
		}
	}
	return notFound()
}

func deleteInstallation(c *call) reply {
	if err := c.g.Uninstall(c.r.Context(), c.id("id")); err != nil {
		return c.failed(err, "Installation", "id")
	}
	return noContent()
}

func createToken(c *call) reply {
	inst, err := c.g.installation(c.id("id"))
	if err != nil {
		return c.failed(err, "Installation", "id")
	}
	if inst.suspended.Load() {
		return fail(http.StatusForbidden, "This installation has been suspended", c.route.docs)
	}
	var asked struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if out := c.decode(&asked); out != nil {
		return *out
	}
	granted := inst.grant.Load().permissions
	permissions := granted
	if asked.Permissions != nil {
		permissions = map[string]string{"metadata": "read"}
		for name, level := range asked.Permissions {
			if permissionLevel(level) == 0 || !allows(granted, name, level) {
				return fail(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.", c.route.docs)
			}
			permissions[name] = level
		}
	}
	inst.mu.Lock()
	mine := slices.Clone(inst.repos)
	selection := inst.selection()
	inst.mu.Unlock()
	var narrowed map[*repository]bool
	if len(asked.Repositories)+len(asked.RepositoryIDs) > 0 {
		narrowed = map[*repository]bool{}
		selection = "selected"
		for _, r := range mine {
			r.mu.Lock()
			name := r.name
			r.mu.Unlock()
			if slices.Contains(asked.RepositoryIDs, r.id) || slices.ContainsFunc(asked.Repositories, func(n string) bool { return strings.EqualFold(n, name) }) {
				narrowed[r] = true
			}
		}
		if len(narrowed) < max(len(asked.Repositories), len(asked.RepositoryIDs)) {
			return fail(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.", c.route.docs)
		}
	}
	t, err := c.g.issueToken(inst, permissions, narrowed)
	if err != nil {
		return c.failed(err, "", "")
	}
	var d document
	d.begin('{')
	d.str("token", t.secret)
	d.instant("expires_at", t.expires)
	permissionsObject(&d, permissions)
	d.str("repository_selection", selection)
	if narrowed != nil {
		d.array("repositories")
		for _, r := range mine {
			if narrowed[r] {
				r.mu.Lock()
				r.object(&d, "", nil)
				r.mu.Unlock()
			}
		}
		d.end(']')
	}
	d.end('}')
	return created(d)
}

func revokeToken(c *call) reply {
	c.g.tokens.Delete(c.token.secret)
	c.inst.mu.Lock()
	c.inst.tokens = slices.DeleteFunc(c.inst.tokens, func(t *token) bool { return t == c.token })
	c.inst.mu.Unlock()
	return noContent()
}

func getHookConfig(c *call) reply {
	var d document
	d.begin('{')
	d.str("content_type", "json")
	d.str("insecure_ssl", "0")
	if c.g.asked().secret != "" {
		d.str("secret", "********")
	}
	d.str("url", c.g.outbox.target())
	d.end('}')
	return ok(d)
}

func getRateLimit(c *call) reply {
	rules := c.g.limits.Load()
	if rules.Off {
		return fail(http.StatusNotFound, "Rate limiting is not enabled.", c.route.docs)
	}
	l, limit := &c.g.appLimit, 5000
	if c.inst != nil {
		l, limit = c.inst.limiter, c.inst.primaryLimit(rules)
	} else if rules.Primary > 0 {
		limit = rules.Primary
	}
	if c.r.Header.Get("Authorization") == "" {
		l, limit = &c.g.anonymous, 60
	}
	b, _ := l.primary(limit, c.g.clock.Now(), 0)
	object := func(d *document, name string, b budget) {
		d.object(name)
		d.num("limit", int64(b.limit))
		d.num("used", int64(b.used))
		d.num("remaining", int64(b.remaining()))
		d.num("reset", b.reset.Unix())
		d.end('}')
	}
	var d document
	d.begin('{')
	d.object("resources")
	object(&d, "core", b)
	object(&d, "search", budget{limit: 30, reset: c.g.clock.Now().Add(time.Minute)})
	d.end('}')
	object(&d, "rate", b)
	d.end('}')
	return ok(d)
}

func getMeta(c *call) reply {
	host, _, _ := strings.Cut(strings.TrimPrefix(c.g.baseURL, "http://"), ":")
	var d document
	d.begin('{')
	d.flag("verifiable_password_authentication", false)
	for _, name := range []string{"hooks", "web", "api", "git"} {
		d.strings(name, []string{host + "/32"})
	}
	d.end('}')
	return ok(d)
}
