package crashlog_test

import (
	"fmt"
	"os"

	"github.com/autorestart-go/autorestart/internal/crashlog"
)

// A process sets values. After it was killed, another one finds them in the same files.
func Example() {
	var files [2]crashlog.File
	for slot := range files {
		f, err := os.CreateTemp("", "crashlog")
		if err != nil {
			fmt.Println(err)
			return
		}
		defer f.Close()
		defer os.Remove(f.Name())
		files[slot] = f
	}

	log, err := crashlog.New(files, []crashlog.Change{{Name: "served", Value: []byte("0")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = log.Write(
		crashlog.Change{Name: "served", Value: []byte("42")},
		crashlog.Change{Name: "last", Value: []byte("client 7")},
	)
	if err != nil {
		fmt.Println(err) // the values are as before
	}

	_, content, err := crashlog.Open(files)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s\n", content["served"], content["last"])
	// Output: 42 client 7
}
