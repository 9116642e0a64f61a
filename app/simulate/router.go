package simulate

import (
	"net/http"
	"net/url"
	"strings"
)

// router finds the route of a request. Unlike http.ServeMux it lets "/issues/comments/{id}" stand beside
// "/issues/{number}/labels", as GitHub's paths do: a literal segment wins over a variable one.
type router struct{ root node }

type node struct {
	literal  map[string]*node
	variable *node
	name     string            // of the variable segment that leads here
	routes   map[string]*route // by method
	rest     map[string]*route // by method: takes all that remains of the path
	restName string
}

// add enters a route by its pattern, "METHOD /segment/{variable}/{rest...}".
func (t *router) add(rt *route) {
	method, path, _ := strings.Cut(rt.pattern, " ")
	n := &t.root
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		name, variable := strings.CutPrefix(segment, "{")
		name = strings.TrimSuffix(name, "}")
		if rest, ok := strings.CutSuffix(name, "..."); variable && ok {
			if n.rest == nil {
				n.rest = map[string]*route{}
			}
			n.rest[method], n.restName = rt, rest
			return
		}
		if variable {
			if n.variable == nil {
				n.variable = &node{name: name}
			}
			n = n.variable
			continue
		}
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		if n.literal[segment] == nil {
			n.literal[segment] = &node{}
		}
		n = n.literal[segment]
	}
	if n.routes == nil {
		n.routes = map[string]*route{}
	}
	n.routes[method] = rt
}

// find returns the route of a request, its variables set as path values, or nil.
func (t *router) find(r *http.Request) *route {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return t.root.find(r, method, strings.Trim(r.URL.EscapedPath(), "/"))
}

func (n *node) find(r *http.Request, method, path string) *route {
	if path == "" {
		return n.routes[method]
	}
	segment, tail, _ := strings.Cut(path, "/")
	if next := n.literal[segment]; next != nil {
		if rt := next.find(r, method, tail); rt != nil {
			return rt
		}
	}
	if n.variable != nil {
		if value, err := url.PathUnescape(segment); err == nil {
			if rt := n.variable.find(r, method, tail); rt != nil {
				r.SetPathValue(n.variable.name, value)
				return rt
			}
		}
	}
	if rt := n.rest[method]; rt != nil {
		if value, err := url.PathUnescape(path); err == nil {
			r.SetPathValue(n.restName, value)
			return rt
		}
	}
	return nil
}
