//go:build !linux || autorestart_portable

package activation

// processOf knows the PID only: other systems have no PID namespaces.
func processOf(pid int, _ bool) process { return process{pid: pid} }
