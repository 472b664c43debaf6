package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file that its owner alone may read, also where a file of that name exists that
// others may read: it makes another one and puts it in its place, so that there is always a whole
// one. A symbolic link to a file is refused, because somebody else may have made it; a device, a
// pipe or a socket is written to as it is.
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

// replace puts a new file of mode 0600 in the place of whatever has the name.
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

// pour writes to what is no file: /dev/stdout, a named pipe.
func pour(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // the file that the user names
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}
