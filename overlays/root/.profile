# The root shell of the rescue media.
LANG=C.UTF-8
[ ! -r /etc/default/locale ] || . /etc/default/locale
PS1='rescue:\w# '
export PS1 LANG EDITOR=nano PAGER=less
alias ll='ls -l'
