package simulate

import (
	"context"
	"slices"
)

// AddRepositories adds repositories of the account to an installation on selected ones and sends installation_repositories.added.
func (g *GitHub) AddRepositories(ctx context.Context, id int64, names ...string) error {
	inst, err := g.installation(id)
	if err != nil {
		return err
	}
	repos, err := g.selectRepositories(inst.account, append([]string{}, names...))
	if err != nil {
		return err
	}
	return g.adopt(ctx, inst, repos)
}

// SelectAll puts an installation on every repository of its account, later ones too, and sends
// installation_repositories.added for those it did not have.
func (g *GitHub) SelectAll(ctx context.Context, id int64) error {
	inst, err := g.installation(id)
	if err != nil {
		return err
	}
	repos, err := g.selectRepositories(inst.account, nil)
	if err != nil {
		return err
	}
	inst.mu.Lock()
	inst.all = true
	inst.mu.Unlock()
	return g.adopt(ctx, inst, repos)
}

func (g *GitHub) adopt(ctx context.Context, inst *installation, repos []*repository) error {
	sender, err := g.administrator(inst.account, "")
	if err != nil {
		return err
	}
	inst.mu.Lock()
	added := slices.DeleteFunc(slices.Clone(repos), func(r *repository) bool { return slices.Contains(inst.repos, r) })
	inst.repos = append(inst.repos, added...)
	selection := inst.selection()
	inst.mu.Unlock()
	if len(added) == 0 {
		return nil
	}
	for _, r := range added {
		r.installation.Store(inst)
	}
	return g.tell(ctx, inst, sender, "installation_repositories", "added", selectionChange(selection, added, nil))
}

// RemoveRepositories takes repositories out of an installation and sends installation_repositories.removed.
func (g *GitHub) RemoveRepositories(ctx context.Context, id int64, names ...string) error {
	inst, err := g.installation(id)
	if err != nil {
		return err
	}
	repos, err := g.selectRepositories(inst.account, append([]string{}, names...))
	if err != nil {
		return err
	}
	return g.release(ctx, inst, repos)
}

func (g *GitHub) release(ctx context.Context, inst *installation, repos []*repository) error {
	sender, err := g.administrator(inst.account, "")
	if err != nil {
		return err
	}
	inst.mu.Lock()
	inst.all = false
	inst.repos = slices.DeleteFunc(inst.repos, func(r *repository) bool { return slices.Contains(repos, r) })
	inst.mu.Unlock()
	removed := slices.DeleteFunc(slices.Clone(repos), func(r *repository) bool { return !r.installation.CompareAndSwap(inst, nil) })
	if len(removed) == 0 {
		return nil
	}
	return g.tell(ctx, inst, sender, "installation_repositories", "removed", selectionChange("selected", nil, removed))
}

func selectionChange(selection string, added, removed []*repository) func(*document) {
	return func(d *document) {
		d.str("repository_selection", selection)
		briefs(d, "repositories_added", added)
		briefs(d, "repositories_removed", removed)
		d.null("requester")
	}
}
