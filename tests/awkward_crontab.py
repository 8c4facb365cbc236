"""Thirty lines of a crontab that nobody would write all at once, and somebody has written each of."""

from __future__ import annotations

LINES = (
    b"# m h  dom mon dow   command\n",
    b"\n",
    b"   \t \n",
    b"SHELL=/bin/bash\n",
    b"PATH = /usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin\n",
    b'MAILTO="root@example.org"\n',
    b"CRON_TZ=Europe/Berlin\n",
    b"0 2 * * * /usr/local/bin/backup.sh --full > /dev/null 2>&1\n",
    b"\t*/5\t*\t*\t*\t*\t  /usr/bin/poll  \t \n",
    b"0 9-17/2 1,15 jan-jun mon-fri echo 'it''s'; echo \"a 'b' c\"\n",
    b"30 4 * * 0,7 date +\\%Y-\\%m-\\%d\n",
    b"15 4 * * * cat%first line%second \\% line%%fourth\n",
    b"16 4 * * * mail -s \"100\\% of 'it'\" root%body's first%second\n",
    b"17 4 * * * echo back\\\\slash \\'quoted\\' \\\\%stdin\n",
    b"@daily nice -n 10 /srv/app/manage.py clearsessions\n",
    b"@reboot /usr/bin/start-everything\n",
    b"@hourly   cd /srv/app && ./backup.sh\n",
    b"0~30 3 * * * /usr/bin/randomly\n",
    b"5 5 5 5 * VAR='x y' OTHER=z flock -n /tmp/lock python3 -m pkg.job --day $(date +\\%F)\n",
    b"6 6 * * * [ -x /usr/bin/x ] && /usr/bin/x || true # not a comment for cron\n",
    b"7 7 * * * printf '%s'\n",
    b"8 8 * * * echo \xff\xfe caf\xc3\xa9 \xe2\x80\xae\n",
    b"9 9 * * * echo carriage\r\n",
    b"\r\n",
    b"10 10 * * * " + b"echo long; " * 90 + b"\n",
    b"11 11 * * * " + b"x" * 5000 + b"\n",
    b"12 12 * * * holter run -- already by hand\n",
    b"61 99 * * what is this\n",
    b'13 13 * * * echo tab\\there > "/tmp/a b" ; (sleep 1 &) ; : \'unclosed\n',
    b"14 14 * * sun echo the last one has no newline \\",
)
TEXT = b"".join(LINES)
