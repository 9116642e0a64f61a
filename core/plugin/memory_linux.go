package plugin

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// memoryOf is the resident memory of a process and its descendants, in bytes; 0
// when there is none. See proc_pid_statm(5) and proc_tid_children(5).
func memoryOf(pid int) int64 {
	if pid == 0 {
		return 0
	}
	var total int64
	if statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			total = pages * int64(os.Getpagesize())
		}
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return total
	}
	for _, t := range threads {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue
		}
		for child := range bytes.FieldsSeq(children) {
			if id, err := strconv.Atoi(string(child)); err == nil {
				total += memoryOf(id)
			}
		}
	}
	return total
}
