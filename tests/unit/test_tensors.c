/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: what is written is read back; what is cut, foreign or lies about itself is refused by name. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base.h"
#include "folder.h"
#include "snapshot.h"
#include "tensors.h"

static const char *path;

static void begin(void)
{
        folder_begin();
        path = in_folder("m.safetensors");
}

TestSuite(tensors, .init = begin, .fini = folder_end);

static const float numbers[6] = { 1, 2, 3, 4, 5, -6.5f };
static const int8_t bytes[3] = { 1, -2, 3 };
static const struct tensor two[] = {
        { "f", TENSOR_F32, 2, { 2, 3 }, numbers, sizeof numbers },
        { "b", TENSOR_I8, 1, { 3 }, bytes, sizeof bytes },
};
static const char *const meta[] = { "kind", "test", "note", "caf\xc3\xa9 \"quoted\"", NULL };

Test(tensors, what_is_written_is_read)
{
        const struct tensor *f;
        struct tensors *t;
        char why[256] = "";

        cr_assert_eq(tensors_write(path, two, 2, meta, why, sizeof why), 0, "%s", why);
        cr_assert_eq(tensors_open(path, &t, why, sizeof why), 0, "%s", why);
        cr_assert_eq(tensors_count(t), 2);
        cr_assert_str_eq(tensors_at(t, 0)->name, "f");
        f = tensors_find(t, "f");
        cr_assert(f && f->type == TENSOR_F32 && f->rank == 2 && f->shape[0] == 2 && f->shape[1] == 3);
        cr_assert_eq((uintptr_t)f->data % 64, 0);
        cr_assert_arr_eq(f->data, numbers, sizeof numbers);
        cr_assert_arr_eq(tensors_find(t, "b")->data, bytes, sizeof bytes);
        cr_assert_null(tensors_find(t, "c"));
        cr_assert_str_eq(tensors_meta(t, "note"), "caf\xc3\xa9 \"quoted\"");
        cr_assert_null(tensors_meta(t, "absent"));
        tensors_close(t);
}

static size_t slurp(char *buf, size_t room)
{
        FILE *f = fopen(path, "re");
        size_t n;

        cr_assert(f);
        n = fread(buf, 1, room, f);
        (void)fclose(f);
        return n;
}

Test(tensors, the_same_again_is_the_same_bytes)
{
        char a[4096], b[4096], why[256];
        size_t n;

        cr_assert_eq(tensors_write(path, two, 2, meta, why, sizeof why), 0);
        n = slurp(a, sizeof a);
        cr_assert_eq(tensors_write(path, two, 2, meta, why, sizeof why), 0);
        cr_assert_eq(slurp(b, sizeof b), n);
        cr_assert_arr_eq(a, b, n);
}

Test(tensors, every_cut_is_refused)
{
        char data[4096], why[256];
        struct tensors *t;
        size_t n;

        cr_assert_eq(tensors_write(path, two, 2, meta, why, sizeof why), 0);
        n = slurp(data, sizeof data);
        for (size_t i = 0; i < n; i++) {
                why[0] = '\0';
                cr_assert_eq(tensors_parse(data, i, &t, why, sizeof why), -EINVAL, "cut to %zu bytes", i);
                cr_assert(why[0], "cut to %zu bytes: no reason", i);
        }
        cr_assert_eq(tensors_parse(data, n, &t, why, sizeof why), 0);
        tensors_close(t);
        cr_assert_eq(tensors_parse(data, n + 1, &t, why, sizeof why), -EINVAL, "a byte too many");
        cr_assert(strstr(why, "belong to no tensor"), "%s", why);
}

static void overwrite(const char *file, size_t n)
{
        int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);

        for (size_t i = 0; i < n; i++)
                cr_assert_eq(write(fd, "\xff", 1), 1);
        (void)close(fd);
}

/* Under a mapping this was SIGBUS, or numbers that nobody had checked. */
Test(tensors, a_file_that_is_cut_or_written_over_stays_as_it_was_opened)
{
        static const uint32_t many[1024] = { 1, 2, 3 };
        struct tensor one = { "x", TENSOR_U32, 1, { LENGTH_OF(many) }, many, sizeof many };
        struct tensors *t;
        char why[256] = "";

        for (size_t n = 0; n <= 8192; n += 8192) {
                cr_assert_eq(tensors_write(path, &one, 1, NULL, why, sizeof why), 0, "%s", why);
                cr_assert_eq(tensors_open(path, &t, why, sizeof why), 0, "%s", why);
                overwrite(path, n);
                cr_assert_eq(memcmp(tensors_find(t, "x")->data, many, sizeof many), 0);
                cr_assert_eq(tensors_settle(t, why, sizeof why), 0);
                tensors_close(t);
        }
}

Test(tensors, a_large_one_that_is_written_into_while_it_is_read_is_refused)
{
        char beside[160];
        struct snapshot *s;

        (void)snprintf(beside, sizeof beside, "%s.beside", path);
        overwrite(path, 64);
        overwrite(beside, 64);
        cr_assert_eq(snapshot_take_up_to(path, 63, &s), 0);
        cr_assert_eq(snapshot_settle(s), 0);
        snapshot_release(s);
        cr_assert_eq(snapshot_take_up_to(path, 63, &s), 0);
        overwrite(path, 65);
        cr_assert_eq(snapshot_settle(s), -ESTALE);
        snapshot_release(s);
        cr_assert_eq(snapshot_take_up_to(path, 63, &s), 0);
        cr_assert_eq(rename(beside, path), 0);
        cr_assert_eq(snapshot_settle(s), 0, "replaced by rename: the old one is whole");
        snapshot_release(s);
        cr_assert_eq(snapshot_take("/nonexistent/m", &s), -ENOENT);
        cr_assert_eq(snapshot_take("/tmp", &s), -EINVAL);
        overwrite(path, 0);
        cr_assert_eq(snapshot_take(path, &s), -EINVAL);
}

/* Until the file's clock must have ticked. */
static void grow_old(void)
{
        struct timespec now, pause = { 0, 5000000 };
        struct stat st;

        cr_assert_eq(stat(path, &st), 0);
        do {
                (void)nanosleep(&pause, NULL);
                (void)clock_gettime(CLOCK_REALTIME, &now);
        } while ((now.tv_sec - st.st_ctim.tv_sec) * 1000000000 + now.tv_nsec - st.st_ctim.tv_nsec <= 25000000);
}

Test(tensors, those_who_have_the_same_file_open_share_its_copy)
{
        struct snapshot *a, *b, *c;
        size_t n;

        overwrite(path, 64);
        grow_old();
        cr_assert_eq(snapshot_take(path, &a), 0);
        cr_assert_eq(snapshot_take(path, &b), 0);
        cr_assert_eq(snapshot_bytes(a, &n), snapshot_bytes(b, &n));
        overwrite(path, 64); /* of the same size */
        cr_assert_eq(snapshot_take(path, &c), 0);
        cr_assert_neq(snapshot_bytes(a, &n), snapshot_bytes(c, &n));
        snapshot_release(a);
        cr_assert_eq(((char *)snapshot_bytes(b, &n))[63], '\xff', "held by another");
        snapshot_release(b);
        snapshot_release(c);
        cr_assert_eq(snapshot_take(path, &a), 0);
        cr_assert_eq(snapshot_take(path, &b), 0);
        snapshot_release(b);
        snapshot_release(a);
}

Test(tensors, a_missing_file_and_a_folder)
{
        struct tensors *t;
        char why[256] = "";

        cr_assert_eq(tensors_open("/nonexistent/m", &t, why, sizeof why), -ENOENT);
        cr_assert_str_eq(why, "cannot open: No such file or directory");
        cr_assert_eq(tensors_open(folder, &t, why, sizeof why), -EINVAL);
        cr_assert(strstr(why, "not a file"), "%s", why);
}

Test(tensors, headers_that_lie_are_refused_by_name)
{
        static const struct {
                const char *header, *data_bytes, *said;
        } cases[] = {
                { "[]", "", "does not begin with '{'" },
                { "{\"a\"", "", "not valid JSON" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":1}", "x", "not valid JSON: duplicate" },
                { "{\"a\":{\"dtype\":\"I9\",\"shape\":[1],\"data_offsets\":[0,1]}}", "x", "unknown dtype 'I9'" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,1]}}", "x", "needs 2 bytes, data_offsets give 1" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", "x", "is not a size" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", "x", "is not a size" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,0]}}", "x", "not within" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[9],\"data_offsets\":[0,9]}}", "x", "cut?" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0]}}", "x", "two numbers" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1],\"z\":0}}", "x", "exactly dtype" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,2]}}", "xx", "begins at byte 1 of the data" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                  "\"b\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[1,3]}}", "xxx", "'b' begins at byte 1" },
                { "{\"a\":{\"dtype\":\"F64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", "", "larger than memory" },
                { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", "x", "at most 8 sizes" },
                { "{\"__metadata__\":{\"a\":1}}", "", "metadata 'a' is not a string" },
                { "{\"__metadata__\":[]}", "", "must be an object" },
                { "{}", "x", "1 bytes of data belong to no tensor" },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                char file[512] = { 0 }, why[256] = "";
                size_t h = strlen(cases[i].header), d = strlen(cases[i].data_bytes);
                struct tensors *t;

                file[0] = (char)(h & 0xff);
                file[1] = (char)(h >> 8);
                memcpy(file + 8, cases[i].header, h);
                memcpy(file + 8 + h, cases[i].data_bytes, d);
                cr_assert_eq(tensors_parse(file, 8 + h + d, &t, why, sizeof why), -EINVAL, "%s", cases[i].header);
                cr_assert(strstr(why, cases[i].said), "%s: said '%s'", cases[i].header, why);
        }
}

Test(tensors, an_absurd_header_length_is_refused_before_memory_is_asked_for)
{
        unsigned char file[16];
        struct tensors *t;
        char why[256];

        memset(file, 0xff, sizeof file);
        cr_assert_eq(tensors_parse(file, sizeof file, &t, why, sizeof why), -EINVAL);
        cr_assert(strstr(why, "not a safetensors file"), "%s", why);
}
