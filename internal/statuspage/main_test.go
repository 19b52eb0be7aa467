package statuspage

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }
