package sqlitelog

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"modernc.org/libc"
	_ "modernc.org/sqlite" // sets the library up for the machine it runs on
	sqlite3 "modernc.org/sqlite/lib"
)

// database is an open connection of SQLite, for one goroutine at a time.
//
// It calls SQLite as a program in C does. The driver for database/sql stands on the same
// library, and costs a third of the time of a small statement on top: it takes values in
// interfaces, which are allocated, locks the connection for each call, and copies every
// value to memory of its own, which is freed after. The log has a dozen statements, all
// prepared, and binds few types.
//
// What SQLite is given stands in memory that Go does not move. libc has that memory, and
// shows it as a slice of bytes.
type database struct {
	tls    *libc.TLS
	handle uintptr
}

// failure is an error of SQLite: its extended code, its text, and the error of the operating
// system behind it, 0 where there is none.
type failure struct {
	code  int32
	text  string
	errno syscall.Errno
}

func (f *failure) Error() string { return fmt.Sprintf("%s (%d)", f.text, f.code) }

// openDatabase opens the file. Flags are added to those of every connection.
func openDatabase(file string, flags int32) (*database, error) {
	name, err := libc.CString(file)
	if err != nil {
		return nil, err
	}
	d := &database{tls: libc.NewTLS()}
	defer libc.Xfree(nil, name)
	flags |= sqlite3.SQLITE_OPEN_READWRITE | sqlite3.SQLITE_OPEN_NOMUTEX | sqlite3.SQLITE_OPEN_EXRESCODE
	handle, err := d.result(func(into uintptr) int32 { return sqlite3.Xsqlite3_open_v2(d.tls, name, into, flags, 0) })
	if d.handle = uintptr(handle); err != nil {
		_ = d.close() // there is nothing open
		return nil, err
	}
	// The schema cannot be written past its statements, and a word in double quotes is a
	// name and never a text.
	for option, on := range map[int32]int32{
		sqlite3.SQLITE_DBCONFIG_DEFENSIVE: 1, sqlite3.SQLITE_DBCONFIG_DQS_DML: 0, sqlite3.SQLITE_DBCONFIG_DQS_DDL: 0,
	} {
		if err := d.configure(option, on); err != nil {
			_ = d.close() // nothing was done with it
			return nil, err
		}
	}
	return d, nil
}

// keepFiles leaves the files -wal and -shm in place when this connection is the last to
// close. A log that is opened while the disk is full could not make them again, and without
// them nothing can be read.
func (d *database) keepFiles() error {
	on := sqlite3.Xsqlite3_malloc64(d.tls, 8)
	if on == 0 {
		return &failure{code: sqlite3.SQLITE_NOMEM, text: "out of memory"}
	}
	defer sqlite3.Xsqlite3_free(d.tls, on)
	binary.NativeEndian.PutUint32(libc.GoBytes(on, 4), 1)
	return d.check(sqlite3.Xsqlite3_file_control(d.tls, d.handle, 0, sqlite3.SQLITE_FCNTL_PERSIST_WAL, on))
}

// configure sets an option of the connection.
func (d *database) configure(option, value int32) error {
	values := libc.NewVaList(value, uintptr(0))
	defer libc.Xfree(d.tls, values)
	return d.check(sqlite3.Xsqlite3_db_config(d.tls, d.handle, option, values))
}

// result is the number that call writes to the memory it is given. It is read also when
// call reports an error.
func (d *database) result(call func(into uintptr) int32) (uint64, error) {
	into := sqlite3.Xsqlite3_malloc64(d.tls, 8)
	if into == 0 {
		return 0, &failure{code: sqlite3.SQLITE_NOMEM, text: "out of memory"}
	}
	defer sqlite3.Xsqlite3_free(d.tls, into)
	clear(libc.GoBytes(into, 8))
	code := call(into)
	n := binary.NativeEndian.Uint64(libc.GoBytes(into, 8))
	if code != sqlite3.SQLITE_OK && d.handle == 0 {
		d.handle = uintptr(n) // of a connection that could not be opened, and says why
	}
	return n, d.check(code)
}

// check makes an error of a code, nil of SQLITE_OK.
func (d *database) check(code int32) error {
	if code == sqlite3.SQLITE_OK {
		return nil
	}
	failed := &failure{code: code, text: libc.GoString(sqlite3.Xsqlite3_errmsg(d.tls, d.handle))}
	if d.handle != 0 {
		failed.errno = syscall.Errno(sqlite3.Xsqlite3_system_errno(d.tls, d.handle))
	}
	return failed
}

func (d *database) close() error {
	err := d.check(sqlite3.Xsqlite3_close_v2(d.tls, d.handle))
	d.tls.Close()
	return err
}

// run carries out statements that yield nothing.
func (d *database) run(sql string) error {
	text, err := libc.CString(sql)
	if err != nil {
		return err
	}
	defer libc.Xfree(d.tls, text)
	return d.check(sqlite3.Xsqlite3_exec(d.tls, d.handle, text, 0, 0, 0))
}

// isReadOnly tells whether the file, which has to have been read, cannot be written.
func (d *database) isReadOnly() bool { return sqlite3.Xsqlite3_db_readonly(d.tls, d.handle, 0) == 1 }

// dataVersion counts the commits to the file that the connection knows of. Inside a
// transaction it knows of all, others' included. The pragma of the same name leaves the
// connection's own out, and takes a statement's time.
func (d *database) dataVersion() (uint64, error) {
	return d.result(func(into uintptr) int32 {
		return sqlite3.Xsqlite3_file_control(d.tls, d.handle, 0, sqlite3.SQLITE_FCNTL_DATA_VERSION, into)
	})
}

// changes is how many rows the last statement has changed.
func (d *database) changes() int { return int(sqlite3.Xsqlite3_changes(d.tls, d.handle)) }

// endWith has a statement that runs end early with ctx, until stop is called. SQLite forgets
// an interrupt that comes before the first step, so it is given again until then.
func (d *database) endWith(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	stopped, over := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(over)
		tls := libc.NewTLS() // another goroutine, another one of these
		defer tls.Close()
		for again := time.NewTicker(time.Millisecond); ; {
			sqlite3.Xsqlite3_interrupt(tls, d.handle)
			select {
			case <-again.C:
			case <-stopped:
				again.Stop()
				return
			}
		}
	})
	return func() {
		if !cancel() {
			close(stopped)
			<-over // so that no later statement is ended
		}
	}
}

// prepare makes a statement that may be used many times.
func (d *database) prepare(sql string) (*statement, error) {
	text, err := libc.CString(sql)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(d.tls, text)
	handle, err := d.result(func(into uintptr) int32 {
		return sqlite3.Xsqlite3_prepare_v3(d.tls, d.handle, text, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, into, 0)
	})
	return &statement{database: d, handle: uintptr(handle)}, err
}

// statement is a prepared statement. Its values are bound, it is stepped through its rows,
// and reset.
type statement struct {
	*database
	handle uintptr

	// Memory for what is bound: one piece mostly, and others when that is too small.
	memory []byte
	start  uintptr // of memory
	used   int
	others []uintptr
	bound  int32 // the first code of bind that is an error

	odd   bool       // a column was not of the type it was read as
	texts [16]string // of the columns, the last time
}

// text is a value that is bound as TEXT, where a []byte is a BLOB.
type text []byte

// bind sets the parameters from the first on, which is 1. Its values are int64, string,
// text, []byte and nil. What is wrong with them is an error of the next step.
func (s *statement) bind(first int, values ...any) {
	for i, value := range values {
		code, n := int32(sqlite3.SQLITE_MISUSE), int32(first+i)
		switch v := value.(type) {
		case nil:
			code = sqlite3.Xsqlite3_bind_null(s.tls, s.handle, n)
		case int64:
			code = sqlite3.Xsqlite3_bind_int64(s.tls, s.handle, n, v)
		case string:
			at, room := s.keep(len(v))
			code = sqlite3.Xsqlite3_bind_text(s.tls, s.handle, n, at, int32(copy(room, v)), 0)
		case text:
			at, room := s.keep(len(v))
			code = sqlite3.Xsqlite3_bind_text(s.tls, s.handle, n, at, int32(copy(room, v)), 0)
		case []byte:
			at, room := s.keep(len(v))
			code = sqlite3.Xsqlite3_bind_blob(s.tls, s.handle, n, at, int32(copy(room, v)), 0)
		}
		if s.bound == sqlite3.SQLITE_OK {
			s.bound = code
		}
	}
}

// keep is room for n bytes until the statement is reset, and none where there is no memory,
// which the next step says.
func (s *statement) keep(n int) (uintptr, []byte) {
	if s.start == 0 || s.used+n > len(s.memory) {
		if s.grow(n); s.start == 0 {
			s.bound = sqlite3.SQLITE_NOMEM
			return 0, nil
		}
	}
	at := s.used
	s.used += n
	return s.start + uintptr(at), s.memory[at : at+n]
}

// grow takes another piece of memory. The one there was stays until the reset, because
// parameters stand in it.
func (s *statement) grow(n int) {
	if s.start != 0 {
		s.others = append(s.others, s.start)
	}
	size := max(4096, 2*len(s.memory), n)
	s.memory, s.used = nil, 0
	if s.start = sqlite3.Xsqlite3_malloc64(s.tls, uint64(size)); s.start != 0 {
		s.memory = libc.GoBytes(s.start, size)
	}
}

// step goes to the next row, and tells whether there is one.
func (s *statement) step() (row bool, err error) {
	if s.bound != sqlite3.SQLITE_OK {
		return false, &failure{code: s.bound, text: "bind a value: " + libc.GoString(sqlite3.Xsqlite3_errstr(s.tls, s.bound))}
	}
	switch code := sqlite3.Xsqlite3_step(s.tls, s.handle); code {
	case sqlite3.SQLITE_ROW:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	default:
		return false, s.check(code)
	}
}

// maxMemory is how much memory a statement keeps for the next time.
const maxMemory = 1 << 18

// reset ends the use of the statement, which then lets go of the values and of its locks.
// The code it yields is that of the step before, once more.
func (s *statement) reset() {
	sqlite3.Xsqlite3_reset(s.tls, s.handle)
	s.bound, s.used, s.odd = sqlite3.SQLITE_OK, 0, false
	if len(s.others) > 0 || len(s.memory) > maxMemory {
		sqlite3.Xsqlite3_clear_bindings(s.tls, s.handle)
		s.free(len(s.memory) <= maxMemory)
	}
}

// free gives memory back, and keeps the piece in use or not.
func (s *statement) free(keep bool) {
	for _, piece := range s.others {
		sqlite3.Xsqlite3_free(s.tls, piece)
	}
	if s.others = nil; !keep {
		sqlite3.Xsqlite3_free(s.tls, s.start) // 0 is nothing
		s.start, s.memory = 0, nil
	}
}

func (s *statement) close() error {
	err := s.check(sqlite3.Xsqlite3_finalize(s.tls, s.handle))
	s.free(false)
	return err
}

// is tells whether the value of a column, the first of which is 0, is of a type. One that
// is not makes the row odd.
func (s *statement) is(column int, kind int32) bool {
	is := sqlite3.Xsqlite3_column_type(s.tls, s.handle, int32(column)) == kind
	s.odd = s.odd || !is
	return is
}

// isNull tells whether a column has no value.
func (s *statement) isNull(column int) bool {
	return sqlite3.Xsqlite3_column_type(s.tls, s.handle, int32(column)) == sqlite3.SQLITE_NULL
}

// wasOdd tells whether some column was not of the type that it was read as, and forgets it.
func (s *statement) wasOdd() bool {
	odd := s.odd
	s.odd = false
	return odd
}

// integer is the value of a column.
func (s *statement) integer(column int) int64 {
	if !s.is(column, sqlite3.SQLITE_INTEGER) {
		return 0
	}
	return sqlite3.Xsqlite3_column_int64(s.tls, s.handle, int32(column))
}

// bytes is the value of a column, TEXT or BLOB as kind says. It is valid until the next
// step.
func (s *statement) bytes(column int, kind int32) []byte {
	if !s.is(column, kind) {
		return nil
	}
	at := sqlite3.Xsqlite3_column_blob(s.tls, s.handle, int32(column))
	if at == 0 {
		return nil
	}
	return libc.GoBytes(at, int(sqlite3.Xsqlite3_column_bytes(s.tls, s.handle, int32(column))))
}

// blob is a copy of the value of a column.
func (s *statement) blob(column int) []byte { return bytes.Clone(s.bytes(column, sqlite3.SQLITE_BLOB)) }

// text is the value of a column. Rows that follow each other often have the same, and
// share it.
func (s *statement) text(column int) string {
	value, last := s.bytes(column, sqlite3.SQLITE_TEXT), &s.texts[column]
	if string(value) != *last {
		*last = string(value)
	}
	return *last
}

// optional is the value of a column of text that may be NULL, "" then.
func (s *statement) optional(column int) string {
	if s.isNull(column) {
		return ""
	}
	return s.text(column)
}
