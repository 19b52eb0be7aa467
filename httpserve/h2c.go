package httpserve

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// The handler of golang.org/x/net/http2/h2c serves HTTP/2 without TLS on connections that it
// hijacks. Nothing tells when such a connection can be closed without losing a request, so this
// package does not let the handler have any. net/http serves the same protocol since Go 1.24.

const h2cPackage = "golang.org/x/net/http2/h2c"

// insteadOfH2C says what to use.
const insteadOfH2C = "use http.Server.Protocols with SetUnencryptedHTTP2(true) instead of a handler of " + h2cPackage

var errH2C = errors.New("httpserve: a restart would lose requests on hijacked connections: " + insteadOfH2C)

// checkHandler returns an error if the handler of srv is of package h2c, unless srv serves
// HTTP/2 without TLS itself.
func checkHandler(srv *http.Server) error {
	t := reflect.TypeOf(srv.Handler)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && isH2C(t.PkgPath()) && !servesUnencryptedHTTP2(srv) {
		return errH2C
	}
	return nil
}

// servesUnencryptedHTTP2 reports whether a client of srv may begin with HTTP/2 without TLS.
func servesUnencryptedHTTP2(srv *http.Server) bool {
	return srv.Protocols != nil && srv.Protocols.UnencryptedHTTP2()
}

// isH2C reports whether a package is h2c, be it vendored.
func isH2C(path string) bool {
	return path == h2cPackage || strings.HasSuffix(path, "/vendor/"+h2cPackage)
}

// isPreface reports whether r is the beginning of HTTP/2 on a connection of HTTP/1.1.
func isPreface(r *http.Request) bool {
	return r.Method == "PRI" && r.ProtoMajor == 2 && r.URL.Path == "*" && len(r.Header) == 0
}

// rejectPreface answers a client that has begun with HTTP/2, and logs that once.
func (s *server) rejectPreface(w http.ResponseWriter, r *http.Request) {
	if s.prefaceLogged.CompareAndSwap(false, true) {
		go s.logf("httpserve: %s sent HTTP/2 without TLS, which this server does not serve: %s", r.RemoteAddr, insteadOfH2C)
	}
	http.Error(w, "HTTP/2 without TLS is not served here: "+insteadOfH2C, http.StatusHTTPVersionNotSupported)
}

// ignoreUpgradeToH2C removes the fields of a request for HTTP/2, which a server may ignore
// (RFC 9110, section 7.8). The request is served as HTTP/1.1.
func ignoreUpgradeToH2C(h http.Header) {
	if len(h["Upgrade"]) == 0 || !removeToken(h, "Upgrade", "h2c") {
		return
	}
	h.Del("HTTP2-Settings")
	removeToken(h, "Connection", "HTTP2-Settings")
	if len(h["Upgrade"]) == 0 {
		removeToken(h, "Connection", "Upgrade")
	}
}

// removeToken removes a token from the lists in the field of that name. It reports whether it
// was there.
func removeToken(h http.Header, name, token string) (found bool) {
	var values []string
	for _, value := range h[name] {
		tokens := strings.Split(value, ",")
		kept := slices.DeleteFunc(tokens, func(t string) bool { return strings.EqualFold(strings.TrimSpace(t), token) })
		found = found || len(kept) < len(tokens)
		if len(kept) > 0 {
			values = append(values, strings.TrimSpace(strings.Join(kept, ",")))
		}
	}
	if h[name] = values; len(values) == 0 {
		delete(h, name)
	}
	return found
}
