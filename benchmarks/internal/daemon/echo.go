package daemon

import "net"

// Echo sends each datagram back, with the identity of this process appended.
func Echo(conn net.PacketConn) error {
	me := Self().String()
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(append(buf[:n], me...), from); err != nil {
			return err
		}
	}
}
