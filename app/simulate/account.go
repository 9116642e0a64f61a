package simulate

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

// account is a user, an organisation or a bot. All but the atomics is fixed once it is published, so it is read without a lock.
type account struct {
	id      int64
	login   string
	nodeID  string
	kind    accountKind
	simple  []byte // GitHub's "simple user" object
	org     []byte // the "organization" member of webhook payloads; empty for anyone else
	deleted atomic.Bool

	issueTypes atomic.Pointer[[]*issueType] // of an organisation
}

type accountKind string

const (
	kindUser         accountKind = "User"
	kindOrganization accountKind = "Organization"
	kindBot          accountKind = "Bot"
)

// object is the account's JSON, or nothing (which renders as null) when it does not exist any more.
func (a *account) object() []byte {
	if a == nil || a.deleted.Load() {
		return nil
	}
	return a.simple
}

func (a *account) name() string {
	if a == nil || a.deleted.Load() {
		return ""
	}
	return a.login
}

func (a *account) organization() []byte {
	if a == nil {
		return nil
	}
	return a.org
}

// nodeID makes an opaque global ID in the manner of GitHub's: a prefix that names the type, then bytes in base64.
func nodeID(prefix string, ids ...int64) string {
	raw := []byte{0x93, 0x00}
	for _, id := range ids {
		raw = append(raw, 0xce)
		raw = binary.BigEndian.AppendUint32(raw, uint32(id)) //nolint:gosec // only the look of the ID depends on it
	}
	return prefix + "_" + base64.RawURLEncoding.EncodeToString(raw)
}

func (g *GitHub) newAccount(login string, kind accountKind) *account {
	id := g.ids.account.Add(1)
	a := &account{id: id, login: login, kind: kind}
	prefix := map[accountKind]string{kindUser: "U", kindOrganization: "O", kindBot: "BOT"}[kind]
	a.nodeID = nodeID(prefix, id)
	api := g.apiURL + "/users/" + url.PathEscape(login)
	page := g.baseURL + "/" + login
	if slug, bot := strings.CutSuffix(login, botSuffix); bot {
		page = g.baseURL + "/apps/" + slug
	}
	avatar := g.baseURL + "/avatars/u/" + strconv.FormatInt(id, 10) + "?v=4"
	var d document
	d.begin('{')
	d.str("login", login)
	d.num("id", id)
	d.str("node_id", a.nodeID)
	d.str("avatar_url", avatar)
	d.str("gravatar_id", "")
	d.str("url", api)
	d.str("html_url", page)
	for _, link := range []struct{ name, path string }{
		{"followers_url", "/followers"}, {"following_url", "/following{/other_user}"}, {"gists_url", "/gists{/gist_id}"},
		{"starred_url", "/starred{/owner}{/repo}"}, {"subscriptions_url", "/subscriptions"}, {"organizations_url", "/orgs"},
		{"repos_url", "/repos"}, {"events_url", "/events{/privacy}"}, {"received_events_url", "/received_events"},
	} {
		d.str(link.name, api+link.path)
	}
	d.str("type", string(kind))
	d.str("user_view_type", "public")
	d.flag("site_admin", false)
	d.end('}')
	a.simple = d
	if kind == kindOrganization {
		api = g.apiURL + "/orgs/" + url.PathEscape(login)
		var o document
		o.begin('{')
		o.str("login", login)
		o.num("id", id)
		o.str("node_id", a.nodeID)
		o.str("url", api)
		for _, link := range []struct{ name, path string }{
			{"repos_url", "/repos"}, {"events_url", "/events"}, {"hooks_url", "/hooks"}, {"issues_url", "/issues"},
			{"members_url", "/members{/member}"}, {"public_members_url", "/public_members{/member}"},
		} {
			o.str(link.name, api+link.path)
		}
		o.str("avatar_url", avatar)
		o.str("description", "")
		o.end('}')
		a.org = o
	}
	return a
}

const botSuffix = "[bot]"

func validLogin(login string) error {
	if !isLogin(login) {
		return fmt.Errorf("%w: %q is not a GitHub login (letters, digits and single hyphens, 39 at most; bots end in %q)", ErrInvalid, login, botSuffix)
	}
	return nil
}

// account returns the account called login, making it when there is none yet: people appear on GitHub without notice.
func (g *GitHub) account(login string, kind accountKind) (*account, error) {
	key := strings.ToLower(login)
	g.mu.RLock()
	a := g.accounts[key]
	g.mu.RUnlock()
	if a == nil {
		if err := validLogin(login); err != nil {
			return nil, err
		}
		if strings.HasSuffix(login, botSuffix) {
			kind = kindBot
		}
		g.mu.Lock()
		if a = g.accounts[key]; a == nil {
			a = g.newAccount(login, kind)
			g.accounts[key] = a
		}
		g.mu.Unlock()
	}
	if a.deleted.Load() {
		return nil, fmt.Errorf("%w: the account %q was deleted", ErrNotFound, login)
	}
	return a, nil
}

// person is an account that acts: a user or a bot, not an organisation.
func (g *GitHub) person(login string) (*account, error) {
	a, err := g.account(login, kindUser)
	if err != nil {
		return nil, err
	}
	if a.kind == kindOrganization {
		return nil, fmt.Errorf("%w: %q is an organisation; only people and bots act", ErrInvalid, login)
	}
	return a, nil
}

func (g *GitHub) findAccount(login string) *account {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a := g.accounts[strings.ToLower(login)]
	if a == nil || a.deleted.Load() {
		return nil
	}
	return a
}

// DeleteUser removes a person's account. What they wrote stays, with a null user, as payloads and the REST API show it.
func (g *GitHub) DeleteUser(login string) error {
	a := g.findAccount(login)
	if a == nil {
		return fmt.Errorf("%w: no account %q", ErrNotFound, login)
	}
	a.deleted.Store(true)
	return nil
}

func isLogin(login string) bool {
	name, bot := strings.CutSuffix(login, botSuffix)
	if name == "" || len(name) > 39 && !bot || len(name) > 100 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-' && i > 0 && i < len(name)-1 && name[i-1] != '-':
		case c == '_': // managed users of an enterprise have a suffix after an underscore
		default:
			return false
		}
	}
	return true
}
