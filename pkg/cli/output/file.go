package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file that only its owner may read, even if it replaces a file that others may
// read. The file is replaced atomically. A symbolic link to a file is refused, because somebody else may
// have created it; a device, pipe or socket is written to directly.
func WriteFile(path string, data []byte) error {
	link, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return replace(path, data)
	}
	if err != nil {
		return err
	}
	target, err := os.Stat(path) // where links lead to
	switch {
	case err == nil && target.IsDir():
		return fmt.Errorf("%s is a directory; name a file", path)
	case err == nil && !target.Mode().IsRegular():
		return pour(path, data)
	case link.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link; name the file that it leads to, or remove it", path)
	case err != nil:
		return err
	}
	return replace(path, data)
}

// replace replaces whatever has the name by a new file of mode 0600.
func replace(path string, data []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".osm-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// pour writes to something that is not a regular file, such as /dev/stdout or a named pipe.
func pour(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // the file that the user names
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}
