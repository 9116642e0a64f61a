package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Probe finds out what can be enforced here, by trying.
func Probe() Strength {
	s := Strength{Limits: true, User: os.Getuid() == 0}
	if abi, err := llsyscall.LandlockGetABIVersion(); err == nil {
		s.Landlock = abi
	}
	s.Namespaces = true
	if s.try() == nil {
		return s
	}
	s.Namespaces = false
	if s.try() == nil {
		return s
	}
	s.User = false
	if s.try() == nil {
		return s
	}
	return Strength{}
}

// try confines a program that does nothing.
func (s Strength) try() error {
	room, err := os.MkdirTemp("", "dispatchai-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(room) }()
	home, hidden := room+"/work", room+"/hidden"
	if err := errors.Join(os.Mkdir(home, 0o700), os.Mkdir(hidden, 0o700)); err != nil {
		return err
	}
	path, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	cmd, err := s.Command(Program{Name: "probe", Path: path, Home: home, Room: room, Hidden: []string{hidden}})
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// attributes start the process in namespaces of its own, and in a process group,
// so that an interrupt at the terminal does not reach it. The kernel kills it
// when the thread that started it ends.
func attributes(s Strength, uid int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if !s.Namespaces {
		return a
	}
	a.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	if uid == 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		self, group := os.Getuid(), os.Getgid()
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: self, HostID: self, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: group, HostID: group, Size: 1}}
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	}
	return a
}

// give makes the user the owner of the path and all in it.
func give(path string, uid int) error {
	if info, err := os.Lstat(path); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) == uid {
			return nil
		}
	}
	return filepath.WalkDir(path, func(entry string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(entry, uid, uid)
	})
}

// exitFailed is the exit status of a process that could not be confined.
const exitFailed = 125

// Enter becomes the program where the process was started to be confined;
// otherwise it returns at once. It is the first thing that main does.
func Enter() {
	if len(os.Args) != 1 || os.Args[0] != enterName {
		return
	}
	runtime.LockOSThread()
	err := enter()
	fmt.Fprintln(os.Stderr, "confine:", err)
	os.Exit(exitFailed)
}

func enter() error {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(orderKey)), &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	if o.Namespaces {
		if err := o.mount(); err != nil {
			return err
		}
	}
	// What the kernel ends first where memory runs out.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("800"), 0o600)
	if err := o.limit(); err != nil {
		return err
	}
	if o.Landlock {
		// Before its user changes, who may not reach all that is named.
		if err := o.restrict(); err != nil {
			return err
		}
	}
	if err := o.drop(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up gaining rights: %w", err)
	}
	// A change of user has undone it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("tie the process to its host: %w", err)
	}
	if err := os.Chdir(o.Dir); err != nil {
		return err
	}
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, orderKey+"=") {
			env = append(env, entry)
		}
	}
	if err := unix.Exec(o.Path, o.Args, env); err != nil {
		return fmt.Errorf("start %s: %w", o.Path, err)
	}
	return nil
}

// mount makes the program's view of the files.
func (o *order) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("take the mounts for its own: %w", err)
	}
	for _, b := range o.Binds {
		if err := unix.Mount(b.From, b.To, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("show %s: %w", b.From, err)
		}
	}
	for _, path := range o.Hidden {
		if err := hide(path); err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	// Other processes are not seen either way; without it, /proc shows their names.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

func hide(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
	}
	return unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k,mode=0555")
}

// The bounds of a confined process, besides its memory.
const (
	maxFiles     = 1024
	maxProcesses = 1024 // threads count
	maxFileBytes = 1 << 30
)

func (o *order) limit() error {
	set := func(resource int, most uint64) error {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return err
		}
		most = min(most, now.Max)
		return unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most})
	}
	err := errors.Join(
		set(unix.RLIMIT_CORE, 0),
		set(unix.RLIMIT_NOFILE, maxFiles),
		set(unix.RLIMIT_FSIZE, maxFileBytes),
	)
	if o.UID != 0 || o.Namespaces {
		err = errors.Join(err, set(unix.RLIMIT_NPROC, maxProcesses))
	}
	if o.Memory > 0 {
		err = errors.Join(err, set(unix.RLIMIT_DATA, uint64(o.Memory)))
	}
	if err != nil {
		return fmt.Errorf("set its resource limits: %w", err)
	}
	return nil
}

// drop gives up the rights of the host.
func (o *order) drop() error {
	if o.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(o.UID, o.UID, o.UID), syscall.Setresuid(o.UID, o.UID, o.UID)); err != nil {
			return fmt.Errorf("become its own user: %w", err)
		}
		return nil
	}
	if !o.Namespaces {
		return nil
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("give up its capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("give up its capabilities: %w", err)
	}
	return nil
}

// systemReads are what programs of any language read of the system.
func systemReads() []string {
	return []string{
		"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix/store",
		"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/alternatives", "/etc/ld.so.conf.d",
		"/etc/python3", "/etc/java", "/etc/fonts",
		"/proc/self", "/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage",
	}
}

func systemFiles() []string {
	return []string{
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.preload", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf",
		"/etc/resolv.conf", "/etc/os-release", "/etc/mime.types", "/etc/services", "/etc/protocols", "/etc/gai.conf", "/etc/host.conf", "/etc/timezone",
		"/dev/urandom", "/dev/random", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/version", "/proc/filesystems",
		"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/osrelease", "/proc/sys/net/core/somaxconn",
	}
}

// restrict has the kernel keep the process to its files, and, where it has no
// network of its own, from TCP.
func (o *order) restrict() error {
	rules := []landlock.Rule{
		landlock.RODirs(systemReads()...).IgnoreIfMissing(),
		landlock.ROFiles(systemFiles()...).IgnoreIfMissing(),
		landlock.RWFiles("/dev/null", "/dev/zero", "/dev/full").IgnoreIfMissing(),
	}
	// A socket in a directory that it may write to is one that it may connect to.
	writable := func(paths ...string) landlock.FSRule { return landlock.RWDirs(paths...).WithResolveUnix() }
	add := func(paths []string, dir, file func(...string) landlock.FSRule) {
		for _, path := range paths {
			rule := file
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				rule = dir
			}
			rules = append(rules, rule(path).IgnoreIfMissing())
		}
	}
	add(o.Reads, landlock.RODirs, landlock.ROFiles)
	add(o.Writes, writable, landlock.RWFiles)
	config := landlock.V11.BestEffort()
	if err := config.RestrictPaths(rules...); err != nil {
		return fmt.Errorf("keep it to its files: %w", err)
	}
	if !o.Namespaces {
		if err := config.RestrictNet(); err != nil {
			return fmt.Errorf("keep it from the network: %w", err)
		}
	}
	if err := config.RestrictScoped(); err != nil {
		return fmt.Errorf("keep it to its own processes: %w", err)
	}
	return nil
}
