package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// DebugKey is the environment variable that, set to 1, has Serve serve without
// a host: for a person who runs the plugin by hand, under a debugger say.
const DebugKey = "DISPATCHAI_PLUGIN_DEBUG"

// Reattach is how a host reaches a plugin that it has not started. Serve writes
// it, as JSON, into a file in a directory that is the user's alone.
type Reattach struct {
	// Protocols are the versions of the protocol that the plugin speaks; the
	// host chooses the highest that it speaks too.
	Protocols []int `json:"protocols"`
	// Socket is the absolute path of the Unix socket that the plugin listens on.
	Socket string `json:"socket"`
	// PID is the plugin's process.
	PID int `json:"pid"`
}

// The bounds of reattach settings. A longer name cannot be a socket's.
const (
	maxReattach  = 4 << 10
	maxSocket    = 103
	maxProtocols = 16
)

// ParseReattach reads reattach settings, and says all that is wrong with them.
func ParseReattach(data []byte) (Reattach, error) {
	var r Reattach
	if len(data) > maxReattach {
		return r, fmt.Errorf("the reattach settings have more than %d bytes", maxReattach)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Reattach{}, fmt.Errorf("the reattach settings are not what a plugin writes with %s=1: %w", DebugKey, err)
	}
	var faults []error
	if n := len(r.Protocols); n == 0 || n > maxProtocols || slices.Min(r.Protocols) < 1 {
		faults = append(faults, fmt.Errorf("protocols must name 1 to %d versions of the plugin protocol, each above 0", maxProtocols))
	}
	if !filepath.IsAbs(r.Socket) || filepath.Clean(r.Socket) != r.Socket || len(r.Socket) > maxSocket || !printable(r.Socket) {
		faults = append(faults, fmt.Errorf("socket must be the absolute path of a Unix socket, in at most %d bytes, and is %q", maxSocket, bounded(r.Socket)))
	}
	if r.PID < 1 {
		faults = append(faults, fmt.Errorf("pid must be the plugin's process and is %d", r.PID))
	}
	if err := errors.Join(faults...); err != nil {
		return Reattach{}, fmt.Errorf("the reattach settings are not valid: %w", err)
	}
	return r, nil
}

// ReadReattach reads the reattach settings in a file. It refuses a file and a
// socket that another user could have put there: both must be this user's, in
// directories that nobody else may enter.
func ReadReattach(path string) (Reattach, error) {
	if err := ownFile(path, 0); errors.Is(err, fs.ErrNotExist) {
		return Reattach{}, fmt.Errorf("there is no file %s; start the plugin with %s=1 and name the file that it prints", path, DebugKey)
	} else if err != nil {
		return Reattach{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return Reattach{}, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxReattach+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return Reattach{}, err
	}
	r, err := ParseReattach(data)
	if err != nil {
		return Reattach{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := ownFile(r.Socket, fs.ModeSocket); errors.Is(err, fs.ErrNotExist) {
		return Reattach{}, fmt.Errorf("there is no socket %s any more; start the plugin again with %s=1", r.Socket, DebugKey)
	} else if err != nil {
		return Reattach{}, err
	}
	return r, nil
}

// ownFile refuses what is not a file of the given type, this user's, in a
// directory that only this user can enter.
func ownFile(path string, kind fs.FileMode) error {
	if err := ownDir(filepath.Dir(path)); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != kind {
		what := "a plain file"
		if kind == fs.ModeSocket {
			what = "a Unix socket"
		}
		return fmt.Errorf("%s is not %s", path, what)
	}
	if !mine(info) {
		return fmt.Errorf("%s belongs to another user", path)
	}
	return nil
}

func ownDir(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case !mine(info):
		return fmt.Errorf("the directory %s belongs to another user", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("others may enter the directory %s; a plugin is reached only in one that is yours alone (chmod 700)", dir)
	}
	return nil
}

// serveDebug serves without a host until ctx ends, and tells on out how a host
// can be told of it.
func serveDebug(ctx context.Context, s *server, out io.Writer) (err error) {
	dir, err := debugDir(s.description.Name)
	if err != nil {
		return err
	}
	base := filepath.Join(dir, s.description.Name)
	listener, err := listenDebug(ctx, base+".sock")
	if err != nil {
		return err
	}
	g := newGRPCServer(s)
	pb.RegisterClassifierServiceServer(g, s)
	h := health.NewServer()
	h.SetServingStatus(goplugin.GRPCServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, h)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	defer func() {
		g.Stop() // a call may stand at a breakpoint
		err = errors.Join(err, <-served)
	}()

	file := base + ".json"
	if err := writeReattach(file, Reattach{Protocols: []int{ProtocolVersion}, Socket: base + ".sock", PID: os.Getpid()}); err != nil {
		return fmt.Errorf("write the reattach settings: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(file)) }()
	name := s.description.Name
	fmt.Fprintf(out, "%s %s waits for DispatchAI. Have it asked by\n\n    DISPATCHAI_PLUGINS=%s=reattach:%s dispatchai serve\n\nor try it with\n\n    dispatchai plugin test reattach:%s\n\nCtrl-C ends it.\n",
		name, s.description.Version, name, file, file)
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		served <- nil
		return err
	}
}

// debugDir makes the directory, the same every time, that a user's plugins are
// reached in, with a name short enough for the plugin's socket.
func debugDir(name string) (string, error) {
	var faults []error
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		dir := filepath.Join(parent, fmt.Sprintf("dispatchai-debug-%d", os.Getuid()))
		if len(dir)+len("/")+len(name)+len(".sock") > maxSocket {
			faults = append(faults, fmt.Errorf("the name of %s is too long for a Unix socket", parent))
			continue
		}
		err := os.Mkdir(dir, 0o700)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = ownDir(dir)
		}
		if err == nil {
			return dir, nil
		}
		faults = append(faults, err)
	}
	return "", fmt.Errorf("make a directory for the plugin's socket (set TMPDIR to a short writable path): %w", errors.Join(faults...))
}

// listenDebug takes the socket's place from a plugin that has ended, and from no other.
func listenDebug(ctx context.Context, socket string) (net.Listener, error) {
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", socket); err == nil {
		return nil, errors.Join(fmt.Errorf("the plugin waits for DispatchAI already, in another process (its socket is %s); end that first", socket), conn.Close())
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier run: %w", err)
	}
	return (&net.ListenConfig{}).Listen(ctx, "unix", socket)
}

func writeReattach(path string, r Reattach) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
