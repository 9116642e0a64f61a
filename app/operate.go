package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/control"
	"github.com/dispatchai/dispatchai/core/eventlog"
)

// openTable follows what operators change and, in a gateway, what processes
// report of themselves. Other roles are not told anything and follow nothing.
func (a *App) openTable() error {
	var topics []string
	if a.options.has(RoleClassify) || a.options.has(RoleGateway) {
		topics = append(topics, eventlog.TopicControl)
	}
	if a.options.has(RoleGateway) {
		topics = append(topics, eventlog.TopicStatus)
	}
	if len(topics) == 0 {
		return nil
	}
	table, err := eventlog.NewTable(a.log, eventlog.TableConfig{Topics: topics, Logger: a.logger.With("part", "table"), Registerer: a.registry})
	if err != nil {
		return err
	}
	a.table = table
	a.workers = append(a.workers, component{"table", table.Run}, component{"switches", a.watchSwitches})
	return nil
}

// pluginSwitch is what an operator last decided on a plugin.
func (a *App) pluginSwitch(name string) control.PluginSwitch {
	if e, ok := a.table.Get(eventlog.TopicControl, control.PluginKey(name)); ok {
		if s, err := control.ParsePluginSwitch(e.Value); err == nil {
			return s
		}
	}
	return control.PluginSwitch{Enabled: true}
}

func (a *App) pluginEnabled(name string) bool { return a.pluginSwitch(name).Enabled }

// overview is what the table knows, or false before it has caught up.
func (a *App) overview() (control.Overview, bool) {
	select {
	case <-a.table.CaughtUp():
		return readOverview(a.table.List, time.Now()), true
	default:
		return control.Overview{}, false
	}
}

// readOverview leaves out what cannot be read: another version's, or a stranger's.
func readOverview(list func(topic string) []eventlog.Entry, now time.Time) control.Overview {
	switches, revisions := make(map[string]control.PluginSwitch), make(map[string]control.PluginRevision)
	for _, e := range list(eventlog.TopicControl) {
		if name, ok := control.RevisionOfKey(e.Key); ok {
			if r, err := control.ParsePluginRevision(e.Value); err == nil {
				revisions[name] = r
			}
		}
		if name, ok := control.PluginOfKey(e.Key); ok {
			if s, err := control.ParsePluginSwitch(e.Value); err == nil {
				switches[name] = s
			}
		}
	}
	var reports []control.Report
	for _, e := range list(eventlog.TopicStatus) {
		if r, err := control.ParseReport(e.Value); err == nil {
			reports = append(reports, r)
		}
	}
	return control.NewOverview(reports, switches, revisions, now)
}

// scanTimeout bounds scanOverview.
const scanTimeout = 20 * time.Second

// scanOverview reads the log once and follows nothing.
func scanOverview(ctx context.Context, cluster *eventlog.Cluster) (control.Overview, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	held := make(map[string][]eventlog.Entry)
	for _, topic := range []string{eventlog.TopicControl, eventlog.TopicStatus} {
		s, err := cluster.Snapshot(ctx, topic)
		if err != nil {
			return control.Overview{}, err
		}
		for _, r := range s.Live {
			held[topic] = append(held[topic], eventlog.Entry{Key: r.Key, Value: r.Value, Time: r.Time})
		}
	}
	return readOverview(func(topic string) []eventlog.Entry { return held[topic] }, time.Now()), nil
}

// watchSwitches says in the log and in the metrics what operators decide on the
// plugins of this process.
func (a *App) watchSwitches(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.table.CaughtUp():
	}
	was := make(map[string]bool)
	unreadable := make(map[string]string) // by key, the value
	for {
		changed := a.table.Changed()
		for _, e := range a.table.List(eventlog.TopicControl) {
			if _, ok := control.PluginOfKey(e.Key); !ok || unreadable[e.Key] == string(e.Value) {
				continue
			}
			delete(unreadable, e.Key)
			if _, err := control.ParsePluginSwitch(e.Value); err != nil {
				unreadable[e.Key] = string(e.Value)
				a.logger.ErrorContext(ctx, "a plugin's switch cannot be read, so it counts as enabled; say it again with `dispatchai plugin enable` or `disable`",
					"key", e.Key, "error", err)
			}
		}
		left := 0
		news := false
		for _, p := range a.plugins {
			s := a.pluginSwitch(p.Name())
			before, known := was[p.Name()]
			was[p.Name()] = s.Enabled
			value := 0.0
			if s.Enabled {
				left++
				value = 1
			}
			a.switched.WithLabelValues(p.Name()).Set(value)
			switch {
			case !s.Enabled && (before || !known):
				news = true
				a.logger.WarnContext(ctx, "plugin is disabled: issues are classified without it", "plugin", p.Name(), "by", s.By, "at", s.At)
			case s.Enabled && known && !before:
				a.logger.InfoContext(ctx, "plugin is enabled again", "plugin", p.Name(), "by", s.By, "at", s.At)
			}
		}
		if news && left == 0 {
			a.logger.ErrorContext(ctx, noneEnabled)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

const noneEnabled = "no classifier plugin is enabled: new issues wait in the event log, unclassified, until one is (`dispatchai plugin enable NAME`)"

func newSwitchedGauge(r prometheus.Registerer) (*prometheus.GaugeVec, error) {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dispatchai_plugin_enabled", Help: "1 while the plugin may be asked, 0 while an operator has disabled it.",
	}, []string{"plugin"})
	return g, r.Register(g)
}
